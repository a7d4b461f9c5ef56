/* Whatever a program does wrong with a masterless group is recognised, and does no harm. */
#include "bad.h"

static uint16_t workload(void *user)
{
    (void)user;
    return 0;
}

static void job(const pares_peer_guard *guard, void *user)
{
    (void)guard, (void)user;
}

static void handles(void)
{
    static const char TAIL[] = "0102030405060708090a0b";
    static const char *const WORDS[] = {"127.0.0.1:1"};
    pares_peer *peer;
    pares_peer_events *events;
    pares_peer_job *a_job;
    const pares_peer_event *event;
    const pares_identifier *id;
    const pares_token *token;
    const pares_peer_listing *listing;
    const pares_peer_info *info;
    const pares_counters *counters;
    const char *text;
    int number;
    size_t bad_at;
    REFUSES_HANDLES(pares_peer_config, pares_peer_config_service(H, 1));
    REFUSES_HANDLES(pares_peer_config, pares_peer_config_rank(H, 1));
    REFUSES_HANDLES(pares_peer_config, pares_peer_config_label(H, "a"));
    REFUSES_HANDLES(pares_peer_config, pares_peer_config_origin(H, 1));
    REFUSES_HANDLES(pares_peer_config, pares_peer_config_local(H, 1));
    REFUSES_HANDLES(pares_peer_config, pares_peer_config_multicast(H, "239.1.2.3:1", NULL));
    REFUSES_HANDLES(pares_peer_config, pares_peer_config_unicast(H, "127.0.0.1:1", WORDS, 1));
    REFUSES_HANDLES(pares_peer_config, pares_peer_config_lan(H));
    REFUSES_HANDLES(pares_peer_config, pares_peer_config_lossy(H));
    REFUSES_HANDLES(pares_peer_config, pares_peer_config_interval(H, 100));
    REFUSES_HANDLES(pares_peer_config, pares_peer_config_delay(H, 100));
    REFUSES_HANDLES(pares_peer_config, pares_peer_config_preempt(H, 1));
    REFUSES_HANDLES(pares_peer_config, pares_peer_config_quorum(H, 1));
    REFUSES_HANDLES(pares_peer_config, pares_peer_config_slow_above(H, 1));
    REFUSES_HANDLES(pares_peer_config, pares_peer_config_max_members(H, 1));
    REFUSES_HANDLES(pares_peer_config, pares_peer_config_need(H, 1, 1, 1));
    REFUSES_HANDLES(pares_peer_config, pares_peer_config_can_start(H, 1));
    REFUSES_HANDLES(pares_peer_config, pares_peer_config_launcher(H, WORDS, 1));
    REFUSES_HANDLES(pares_peer_config, pares_peer_config_directory(H, "/"));
    REFUSES_HANDLES(pares_peer_config, pares_peer_config_key_file(H, "/"));
    REFUSES_HANDLES(pares_peer_config, pares_peer_config_also_key_file(H, "/"));
    REFUSES_HANDLES(pares_peer_config, pares_peer_config_events(H, 2));
    REFUSES_HANDLES(pares_peer_config, pares_peer_config_prepare_handover(H, 1));
    REFUSES_HANDLES(pares_peer_config, pares_peer_config_workload(H, 1));
    REFUSES_HANDLES(pares_peer_config, pares_peer_config_workload_from(H, workload, NULL, NULL));
    REFUSES_HANDLES(pares_peer_config, pares_peer_config_observe(H, 1));
    REFUSES_HANDLES(pares_peer_config, pares_peer_join(H, &peer));
    FREES_ONLY_ITS_OWN(pares_peer_config, pares_peer_config_free(H));

    REFUSES_HANDLES(pares_peer, pares_peer_wait_admitted(H, PARES_FOR_EVER));
    REFUSES_HANDLES(pares_peer, pares_peer_group(H, &text));
    REFUSES_HANDLES(pares_peer, pares_peer_label(H, &text));
    REFUSES_HANDLES(pares_peer, pares_peer_id(H, &id));
    REFUSES_HANDLES(pares_peer, pares_peer_status(H, &number));
    REFUSES_HANDLES(pares_peer, pares_peer_token(H, &token));
    REFUSES_HANDLES(pares_peer, pares_peer_list(H, &listing));
    REFUSES_HANDLES(pares_peer, pares_peer_least_loaded(H, 0, &info));
    REFUSES_HANDLES(pares_peer, pares_peer_direct(H, TAIL, 1));
    REFUSES_HANDLES(pares_peer, pares_peer_set_rank(H, 1));
    REFUSES_HANDLES(pares_peer, pares_peer_set_workload(H, 1));
    REFUSES_HANDLES(pares_peer, pares_peer_handover_ready(H));
    REFUSES_HANDLES(pares_peer, pares_peer_process_ended(H, 1));
    REFUSES_HANDLES(pares_peer, pares_peer_counters(H, &counters));
    REFUSES_HANDLES(pares_peer, pares_peer_events_open(H, &events));
    FREES_ONLY_ITS_OWN(pares_peer, pares_peer_leave(H));
    FREES_ONLY_ITS_OWN(pares_peer, pares_peer_leave_at_once(H));
    REFUSES_HANDLES(pares_peer_events, pares_peer_events_next(H, 0, &event));
    REFUSES_HANDLES(pares_peer_events, pares_peer_events_descriptor(H, &number));
    FREES_ONLY_ITS_OWN(pares_peer_events, pares_peer_events_close(H));
    REFUSES_HANDLES(pares_peer, pares_peer_while_primary(H, job, NULL, NULL, &a_job));
    FREES_ONLY_ITS_OWN(pares_peer_job, pares_peer_job_end(H));
    REFUSES_HANDLES(const pares_peer_guard, pares_peer_guard_token(H, &token));
    for (bad_at = 0; bad_at < bad_count; bad_at++) {
        const pares_peer_guard *guard = (const pares_peer_guard *)bad[bad_at];
        CHECK(pares_peer_lease_ok((pares_peer *)bad[bad_at]) == 0);
        CHECK(pares_peer_guard_lease_ok(guard) == 0);
        CHECK(pares_peer_guard_should_stop(guard) == 1);
        CHECK(pares_peer_guard_wait(guard, PARES_FOR_EVER) == 1);
    }
    CHECK(pares_peer_lease_ok(NULL) == 0 && pares_peer_guard_lease_ok(NULL) == 0);
    CHECK(pares_peer_guard_wait(NULL, PARES_FOR_EVER) == 1);
}

/* What is wrong is refused, and the peer stays as it is. */
static void nulls_and_values(pares_peer_config *config, pares_peer *peer)
{
    static const char LATIN[] = "K\xf6ln:1";
    static const char *const NAMES[] = {"localhost"}, *const MISSING[] = {NULL},
                             *const OTHER_FAMILY[] = {"[::1]:1"};
    static const char *const EMPTY[] = {""};
    const int null = PARES_NULL_ARGUMENT;
    pares_peer_config *other = NULL;
    pares_peer_events *events = NULL;
    const char *text = "";
    int i;
    GIVES(null, pares_peer_config_new("capi", NULL));
    GIVES(PARES_NOT_UTF8, pares_peer_config_new(LATIN, &other));
    GIVES(PARES_INVALID, pares_peer_config_new("../etc", &other));
    CHECK(other == NULL);
    OK(pares_peer_config_new(NULL, &other)); /* "default" */
    OK(pares_peer_config_free(other));
    GIVES(PARES_INVALID, pares_peer_config_local(config, 0));
    GIVES(null, pares_peer_config_multicast(config, NULL, NULL));
    GIVES(PARES_NOT_UTF8, pares_peer_config_multicast(config, LATIN, NULL));
    GIVES(PARES_NOT_UTF8, pares_peer_config_multicast(config, "239.1.2.3:1", LATIN));
    GIVES(PARES_INVALID, pares_peer_config_multicast(config, "239.1.2.3", NULL));
    CHECK(strstr(pares_last_error(), "with a port") != NULL);
    GIVES(PARES_INVALID, pares_peer_config_multicast(config, "10.0.0.1:1", NULL));
    GIVES(null, pares_peer_config_unicast(config, NULL, NAMES, 1));
    GIVES(null, pares_peer_config_unicast(config, "127.0.0.1:1", NULL, 1));
    GIVES(null, pares_peer_config_unicast(config, "127.0.0.1:1", MISSING, 1));
    GIVES(PARES_INVALID, pares_peer_config_unicast(config, "127.0.0.1:1", NULL, 0));
    GIVES(PARES_INVALID, pares_peer_config_unicast(config, "127.0.0.1:1", NAMES, 1));
    GIVES(PARES_INVALID, pares_peer_config_unicast(config, "127.0.0.1:1", NAMES, SIZE_MAX));
    GIVES(PARES_INVALID, pares_peer_config_unicast(config, "127.0.0.1:1", OTHER_FAMILY, 1));
    GIVES(PARES_INVALID, pares_peer_config_interval(config, 19));
    GIVES(PARES_INVALID, pares_peer_config_interval(config, PARES_FOR_EVER));
    GIVES(PARES_INVALID, pares_peer_config_delay(config, 19));
    GIVES(PARES_INVALID, pares_peer_config_delay(config, PARES_FOR_EVER));
    GIVES(PARES_INVALID, pares_peer_config_quorum(config, SIZE_MAX));
    GIVES(PARES_INVALID, pares_peer_config_max_members(config, 0));
    GIVES(PARES_INVALID, pares_peer_config_max_members(config, SIZE_MAX));
    GIVES(PARES_INVALID, pares_peer_config_need(config, 1, 2, 1));
    for (i = 0; i < 64; i++)
        OK(pares_peer_config_need(config, (uint16_t)i, 0, UINT16_MAX));
    GIVES(PARES_INVALID, pares_peer_config_need(config, 64, 0, UINT16_MAX));
    GIVES(null, pares_peer_config_launcher(config, NULL, 1));
    GIVES(null, pares_peer_config_launcher(config, MISSING, 1));
    GIVES(PARES_INVALID, pares_peer_config_launcher(config, NULL, 0));
    GIVES(PARES_INVALID, pares_peer_config_launcher(config, EMPTY, 1));
    GIVES(null, pares_peer_config_label(config, NULL));
    GIVES(PARES_NOT_UTF8, pares_peer_config_label(config, LATIN));
    GIVES(null, pares_peer_config_directory(config, NULL));
    GIVES(null, pares_peer_config_key_file(config, NULL));
    GIVES(null, pares_peer_config_also_key_file(config, NULL));
    GIVES(PARES_INVALID, pares_peer_config_events(config, 1));
    freed = 0;
    GIVES(null, pares_peer_config_workload_from(config, NULL, NULL, count_free));
    GIVES(PARES_BAD_HANDLE,
          pares_peer_config_workload_from((pares_peer_config *)peer, workload, NULL, count_free));
    CHECK(freed == 2);
    GIVES(null, pares_peer_while_primary(peer, job, NULL, count_free, NULL));
    {
        pares_peer_job *none = NULL;
        GIVES(null, pares_peer_while_primary(peer, NULL, NULL, count_free, &none));
        CHECK(freed == 4 && none == NULL);
    }
    OK(pares_peer_config_workload_from(config, workload, NULL, count_free));
    GIVES(null, pares_peer_join(config, NULL));
    GIVES(null, pares_peer_group(peer, NULL));
    GIVES(null, pares_peer_label(peer, NULL));
    GIVES(null, pares_peer_id(peer, NULL));
    GIVES(null, pares_peer_status(peer, NULL));
    GIVES(null, pares_peer_token(peer, NULL));
    GIVES(null, pares_peer_list(peer, NULL));
    GIVES(null, pares_peer_least_loaded(peer, 0, NULL));
    GIVES(null, pares_peer_direct(peer, NULL, 1));
    GIVES(PARES_NOT_UTF8, pares_peer_direct(peer, LATIN, 1));
    GIVES(PARES_INVALID, pares_peer_direct(peer, "main", 1));
    GIVES(PARES_INVALID, pares_peer_direct(peer, "0102030405060708090a0bff", 1));
    OK(pares_peer_direct(peer, "0102030405060708090a0b", 1)); /* nobody: nothing happens */
    GIVES(null, pares_peer_counters(peer, NULL));
    GIVES(null, pares_peer_events_open(peer, NULL));
    OK(pares_peer_events_open(peer, &events));
    GIVES(null, pares_peer_events_next(events, 0, NULL));
    GIVES(null, pares_peer_events_descriptor(events, NULL));
    GIVES(PARES_BAD_HANDLE, pares_events_close((pares_events *)events));
    GIVES(PARES_BAD_HANDLE, pares_leave((pares_instance *)peer));
    GIVES(PARES_BAD_HANDLE, pares_peer_leave((pares_peer *)config));
    OK(pares_peer_events_close(events));
    OK(pares_peer_group(peer, &text));
    CHECK(strcmp(text, "capi") == 0);
    OK(pares_free(text));
}

/* What makes joining fail leaves nothing behind. */
static void that_cannot_join(uint16_t port)
{
    static const char *const PEERS[] = {"127.0.0.1:1"};
    pares_peer_config *config = new_peer_config(port, 1);
    pares_peer *peer = NULL;
    OK(pares_peer_config_also_key_file(config, "/nowhere/at.all"));
    CHECK(pares_peer_join(config, &peer) != PARES_OK && peer == NULL);
    OK(pares_peer_config_free(config));
    config = new_peer_config(port, 1);
    OK(pares_peer_config_multicast(config, "239.1.2.3:4000", "no-such-0"));
    GIVES(PARES_NOT_HERE, pares_peer_join(config, &peer));
    CHECK(strstr(pares_last_error(), "no-such-0") != NULL);
    OK(pares_peer_config_unicast(config, "192.0.2.1:4000", PEERS, 1));
    GIVES(PARES_NOT_HERE, pares_peer_join(config, &peer));
    OK(pares_peer_config_key_file(config, "/dev/null"));
    GIVES(PARES_KEY, pares_peer_join(config, &peer));
    CHECK(peer == NULL);
    OK(pares_peer_config_free(config));
}

int main(int count, char **arguments)
{
    const uint16_t port = begin(count, arguments);
    pares_peer_config *config = new_peer_config(port, 2);
    pares_peer *peer = join_peer(port, 1);
    pares_instance *instance = collect_bad(port);

    nulls_and_values(config, peer);
    that_cannot_join(port);
    handles();

    /* Of another type, and alive: unharmed. */
    GIVES(PARES_BAD_HANDLE, pares_peer_leave((pares_peer *)instance));
    CHECK(pares_instance_is_supervisor(instance) == 1);
    OK(pares_leave(instance));

    freed = 0;
    OK(pares_peer_leave_at_once(peer));
    GIVES(PARES_BAD_HANDLE, pares_peer_leave(peer));
    OK(pares_peer_join(config, &peer)); /* nothing of all this has changed it */
    OK(pares_peer_wait_admitted(peer, PATIENCE_MS));
    OK(pares_peer_config_free(config));
    CHECK(freed == 0);
    OK(pares_peer_leave(peer));
    CHECK(freed == 1);
    puts("done");
    return 0;
}
