/* Every function does what the header says, one after the other, with two instances in one process.
 */
#include "check.h"

static int freed;

static void count_free(void *user)
{
    CHECK(user == &freed);
    freed++;
}

static void twice(pares_reply *reply, const void *payload, size_t bytes, void *user)
{
    char both[64];
    CHECK(user == &freed && payload != NULL);
    if (bytes == 0) {
        OK(pares_reply_fail(reply, "nothing to say twice"));
        return;
    }
    CHECK(bytes <= sizeof both / 2);
    memcpy(both, payload, bytes);
    memcpy(both + bytes, payload, bytes);
    OK(pares_reply_set(reply, "overwritten", 11));
    OK(pares_reply_set(reply, both, 2 * bytes));
}

static void library(void)
{
    CHECK(pares_abi_version() == PARES_ABI_VERSION);
    CHECK(strchr(pares_version(), '.') != NULL);
    CHECK(strcmp(pares_last_error(), "") == 0);
    CHECK(strcmp(pares_result_name(PARES_OK), "PARES_OK") == 0);
    CHECK(strcmp(pares_result_name(PARES_IN_CALLBACK), "PARES_IN_CALLBACK") == 0);
    CHECK(strcmp(pares_result_name(4711), "unknown result") == 0);
    CHECK(strcmp(pares_role_name(PARES_SUBORDINATE), "subordinate") == 0);
    CHECK(strcmp(pares_role_name(0), "unknown role") == 0);
    CHECK(strcmp(pares_event_kind_name(PARES_EVENT_PERMIT_LOST), "permit-lost") == 0);
    CHECK(strcmp(pares_event_kind_name(-1), "unknown event") == 0);
    CHECK(strcmp(pares_peer_status_name(PARES_PEER_TO_BECOME_PRIMARY), "to-become-primary") == 0);
    CHECK(strcmp(pares_peer_status_name(0), "unknown status") == 0);
    CHECK(strcmp(pares_peer_event_kind_name(PARES_PEER_EVENT_PREPARE_HANDOVER),
                 "prepare-handover") == 0);
    CHECK(strcmp(pares_peer_event_kind_name(0), "unknown event") == 0);
}

static pares_instance *join_with_everything(uint16_t port, const char *name)
{
    pares_config *config = NULL;
    pares_instance *instance = NULL;
    OK(pares_config_new("capi", &config));
    OK(pares_config_port(config, port));
    OK(pares_config_name(config, name));
    OK(pares_config_directory(config, getenv("PARES_DIR")));
    OK(pares_config_key_file(config, getenv("CAPI_KEY_FILE")));
    OK(pares_config_meta(config, "version", "2.4"));
    OK(pares_config_meta(config, "city", "K\xc3\xb6ln"));
    OK(pares_config_join_timeout(config, PARES_FOR_EVER));
    OK(pares_config_settle_time(config, 1000));
    OK(pares_config_may_supervise(config, 1));
    OK(pares_config_max_members(config, 16));
    OK(pares_config_events(config, 64));
    OK(pares_config_release_on_crash(config, 1));
    OK(pares_config_release_on_crash(config, 0));
    GIVES(PARES_INVALID, pares_config_hang_timeout(config, 99));
    GIVES(PARES_INVALID, pares_config_end_hung_supervisor(config, 1)); /* without a hang timeout */
    OK(pares_config_hang_timeout(config, 60000));
    OK(pares_config_end_hung_supervisor(config, 1));
    OK(pares_config_resource(config, "seats", 4));
    OK(pares_config_resource_per_holder(config, "desks", 4, 2));
    OK(pares_config_function(config, "twice", "says it twice", twice, &freed, count_free));
    OK(pares_join(config, &instance));
    OK(pares_config_free(config));
    return instance;
}

static void instances(pares_instance *one, pares_instance *two)
{
    const char *name = NULL;
    int role = 0;
    uint64_t term = 0;
    OK(pares_instance_name(two, &name));
    CHECK(strcmp(name, "two") == 0);
    OK(pares_free(name));
    OK(pares_instance_role(one, &role));
    CHECK(role == PARES_SUPERVISOR);
    OK(pares_instance_role(two, &role));
    CHECK(role == PARES_SUBORDINATE);
    CHECK(pares_instance_is_supervisor(one) == 1 && pares_instance_is_supervisor(two) == 0);
    OK(pares_instance_term(two, &term));
    CHECK(term == 1);
    OK(pares_pulse(one));
}

static void registry(pares_instance *two, uint16_t port)
{
    const pares_listing *listing = NULL;
    const pares_status *status = NULL;
    const pares_entry *entry;
    size_t i, found = 0;
    OK(pares_registry_list(two, PARES_FOR_EVER, &listing));
    CHECK(listing->count == 2 && listing->term == 1 && strcmp(listing->supervisor, "one") == 0);
    CHECK(strcmp(listing->entries[0]->name, "one") == 0 &&
          listing->entries[0]->role == PARES_SUPERVISOR);
    CHECK(listing->entries[1]->role == PARES_SUBORDINATE);
    OK(pares_free(listing));

    OK(pares_registry_look_up(two, "main", PATIENCE_MS, &listing));
    CHECK(listing->count == 1);
    entry = listing->entries[0];
    CHECK(entry->pid == (uint32_t)getpid() && entry->uid == (uint32_t)getuid());
    CHECK(entry->id != 0 && entry->joined_ms > 1000000000000u && entry->admin_port != 0);
    CHECK(entry->meta_count == 2 && strcmp(entry->meta_keys[0], "version") == 0);
    CHECK(strcmp(entry->meta_values[0], "2.4") == 0 &&
          strcmp(entry->meta_values[1], "K\xc3\xb6ln") == 0);
    for (i = 0; i < entry->function_count; i++)
        found += strcmp(entry->functions[i], "twice") == 0;
    CHECK(found == 1);
    OK(pares_free(listing));
    GIVES(PARES_NO_SUCH_INSTANCE, pares_registry_look_up(two, "nobody", PATIENCE_MS, &listing));
    CHECK(listing == NULL && strstr(pares_last_error(), "nobody") != NULL);

    OK(pares_registry_status(two, PATIENCE_MS, &status));
    CHECK(strcmp(status->group, "capi") == 0 && strcmp(status->supervisor, "one") == 0);
    CHECK(status->port == port && status->members == 2 && status->term == 1 &&
          status->settled == 1);
    CHECK(status->cause == PARES_ELECTED_FIRST && status->registry_port != 0 &&
          status->supervisor_admin_port != 0);
    CHECK(status->since_ms > 1000000000000u);
    OK(pares_free(status));
}

static void calls(pares_instance *two)
{
    const void *result = NULL;
    size_t bytes = 0;
    OK(pares_call(two, "main", "twice", "ab", 2, PARES_FOR_EVER, &result, &bytes));
    CHECK(bytes == 4 && memcmp(result, "abab", 5) == 0);
    OK(pares_free(result));
    OK(pares_call(two, "two", "ping", NULL, 0, PATIENCE_MS, &result, &bytes));
    CHECK(bytes == 0 && memcmp(result, "", 1) == 0);
    OK(pares_free(result));
    GIVES(PARES_FUNCTION_FAILED,
          pares_call(two, "one", "twice", "", 0, PATIENCE_MS, &result, &bytes));
    CHECK(result == NULL && bytes == 0 && strcmp(pares_last_error(), "nothing to say twice") == 0);
    GIVES(PARES_NO_SUCH_FUNCTION,
          pares_call(two, "one", "thrice", "", 0, PATIENCE_MS, &result, &bytes));
    GIVES(PARES_NO_SUCH_INSTANCE,
          pares_call(two, "nobody", "twice", "", 0, PATIENCE_MS, &result, &bytes));
}

/* What is given back reaches the supervisor on its own way. */
static void await_in_use(pares_instance *instance, const char *resource, uint64_t units)
{
    uint64_t in_use = units + 1;
    while (in_use != units) {
        const pares_usages *usages = NULL;
        OK(pares_usage_list(instance, resource, PATIENCE_MS, &usages));
        in_use = usages->usages[0]->in_use;
        OK(pares_free(usages));
    }
}

static void permits(pares_instance *one, pares_instance *two)
{
    pares_permit *first = NULL, *second = NULL, *third = NULL;
    pares_events *events = NULL;
    const pares_usages *usages = NULL;
    const pares_event *event;
    uint64_t id = 0, other = 0, revoked = 0;
    OK(pares_acquire(two, "seats", 3, PARES_FOR_EVER, &first));
    OK(pares_try_acquire(two, "seats", 1, &second));
    GIVES(PARES_EXHAUSTED, pares_try_acquire(two, "seats", 1, &third));
    CHECK(third == NULL);
    GIVES(PARES_DEADLINE, pares_acquire(one, "seats", 1, 1, &third));
    GIVES(PARES_OVER_LIMIT, pares_acquire(one, "seats", 5, PATIENCE_MS, &third));
    GIVES(PARES_OVER_LIMIT, pares_acquire(one, "desks", 3, PATIENCE_MS, &third));
    GIVES(PARES_UNKNOWN_RESOURCE, pares_acquire(one, "sofas", 1, PATIENCE_MS, &third));
    GIVES(PARES_INVALID, pares_acquire(one, "seats", 0, PATIENCE_MS, &third));
    OK(pares_permit_id(first, &id));
    OK(pares_permit_id(second, &other));
    CHECK(id != other && pares_permit_is_valid(first) == 1);

    OK(pares_usage_list(one, "seats", PATIENCE_MS, &usages));
    CHECK(usages->count == 1 && usages->usages[0]->has_limit == 1 && usages->usages[0]->limit == 4);
    CHECK(usages->usages[0]->in_use == 4 && usages->usages[0]->waiting == 0);
    CHECK(usages->usages[0]->holder_count == 1 && usages->usages[0]->holder_units[0] == 4);
    CHECK(strcmp(usages->usages[0]->holder_names[0], "two") == 0);
    OK(pares_free(usages));
    OK(pares_permit_release(second));
    await_in_use(one, "seats", 3);
    OK(pares_set_limit(one, "seats", 5, PATIENCE_MS));
    OK(pares_usage_list(one, NULL, PATIENCE_MS, &usages));
    CHECK(usages->count == 2 && strcmp(usages->usages[0]->resource, "desks") == 0);
    CHECK(usages->usages[1]->limit == 5 && usages->usages[0]->holder_names == NULL);
    OK(pares_free(usages));
    GIVES(PARES_UNKNOWN_RESOURCE, pares_usage_list(one, "sofas", PATIENCE_MS, &usages));

    OK(pares_events_open(two, &events));
    OK(pares_revoke(one, "seats", "two", PATIENCE_MS, &revoked));
    CHECK(revoked == 1);
    OK(pares_revoke(one, "seats", "two", PATIENCE_MS, NULL));
    event = await_event(events, PARES_EVENT_PERMIT_LOST);
    CHECK(event->permit == id && event->units == 3 && strcmp(event->resource, "seats") == 0);
    OK(pares_free(event));
    CHECK(pares_permit_is_valid(first) == 0);
    OK(pares_permit_release(first));
    OK(pares_events_close(events));
}

static void tallies(pares_instance *one, pares_instance *two)
{
    pares_tally *tally = NULL, *same = NULL;
    pares_events *events = NULL;
    const pares_event *event;
    uint64_t count = 0;
    OK(pares_events_open(one, &events));
    OK(pares_tally_open(two, "desks", &tally));
    OK(pares_tally_open(two, "desks", &same));
    OK(pares_tally_add(tally, 7, &count));
    CHECK(count == 7);
    OK(pares_tally_sub(same, 1, NULL));
    OK(pares_tally_add(same, 0, NULL));
    OK(pares_tally_sub(same, 0, &count));
    CHECK(count == 6);
    OK(pares_tally_count(tally, &count));
    CHECK(count == 6);
    OK(pares_tally_total(tally, PARES_FOR_EVER, &count));
    CHECK(count == 6);
    event = await_event(events, PARES_EVENT_OVER_LIMIT);
    CHECK(event->limit == 4 && event->in_use > 4 && strcmp(event->resource, "desks") == 0);
    OK(pares_free(event));
    OK(pares_tally_free(tally));
    OK(pares_tally_free(same));
    OK(pares_events_close(events));
}

static void settings(pares_instance *one, pares_instance *two)
{
    const char *value = NULL;
    size_t bytes = 7;
    const pares_settings *all = NULL;
    pares_events *events = NULL;
    const pares_event *event;
    OK(pares_events_open(two, &events));
    GIVES(PARES_NOT_FOUND, pares_setting_get(one, "mode", &value, &bytes));
    CHECK(value == NULL && bytes == 0);
    OK(pares_setting_set(one, "mode", "fast", PARES_FOR_EVER));
    OK(pares_setting_get(one, "mode", &value, &bytes));
    CHECK(strcmp(value, "fast") == 0 && bytes == 4);
    OK(pares_free(value));
    event = await_event(events, PARES_EVENT_SETTING);
    CHECK(strcmp(event->key, "mode") == 0 && strcmp(event->value, "fast") == 0 &&
          event->value_bytes == 4);
    OK(pares_free(event));
    OK(pares_setting_compare_and_set(one, "mode", "fast", "safe", PATIENCE_MS, &value));
    CHECK(value == NULL);
    GIVES(PARES_CHANGED,
          pares_setting_compare_and_set(one, "mode", "fast", "slow", PATIENCE_MS, &value));
    CHECK(strcmp(value, "safe") == 0);
    OK(pares_free(value));
    GIVES(PARES_CHANGED,
          pares_setting_compare_and_set(one, "mode", NULL, "slow", PATIENCE_MS, NULL));
    GIVES(PARES_CHANGED,
          pares_setting_compare_and_set(one, "none", "some", "slow", PATIENCE_MS, &value));
    CHECK(value == NULL);
    OK(pares_setting_compare_and_set(one, "level", NULL, "", PATIENCE_MS, NULL));
    OK(pares_setting_list(one, &all));
    CHECK(all->count == 2 && strcmp(all->keys[0], "level") == 0 &&
          strcmp(all->values[1], "safe") == 0);
    CHECK(all->value_bytes[0] == 0 && all->value_bytes[1] == 4);
    OK(pares_free(all));
    OK(pares_setting_unset(one, "mode", PATIENCE_MS));
    GIVES(PARES_NOT_FOUND, pares_setting_get(one, "mode", &value, NULL));
    OK(pares_events_close(events));
}

static void messages(pares_instance *one, pares_instance *two)
{
    pares_events *events = NULL;
    const pares_event *event;
    uint64_t receivers = 0;
    OK(pares_events_open(two, &events));
    OK(pares_broadcast(one, "cache", "flush", 5, PARES_FOR_EVER, &receivers));
    CHECK(receivers == 2);
    event = await_event(events, PARES_EVENT_MESSAGE);
    CHECK(strcmp(event->name, "one") == 0 && strcmp(event->topic, "cache") == 0);
    CHECK(event->payload_bytes == 5 && memcmp(event->payload, "flush", 6) == 0 &&
          event->monotonic_ns != 0);
    OK(pares_free(event));
    OK(pares_send(one, "two", "cache", NULL, 0, PATIENCE_MS));
    event = await_event(events, PARES_EVENT_MESSAGE);
    CHECK(event->payload_bytes == 0 && memcmp(event->payload, "", 1) == 0);
    OK(pares_free(event));
    GIVES(PARES_NO_SUCH_INSTANCE, pares_send(one, "nobody", "cache", NULL, 0, PATIENCE_MS));
    OK(pares_broadcast(one, "cache", NULL, 0, PATIENCE_MS, NULL));
    OK(pares_events_close(events));
}

/* What the job has seen. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t bell = PTHREAD_COND_INITIALIZER;
static uint64_t began, ended;

static void job(const pares_guard *guard, void *user)
{
    uint64_t term = 0;
    CHECK(user == &freed);
    OK(pares_guard_term(guard, &term));
    CHECK(pares_guard_should_stop(guard) == 0 && pares_guard_wait(guard, 0) == 0);
    pthread_mutex_lock(&lock);
    began = term;
    pthread_cond_broadcast(&bell);
    pthread_mutex_unlock(&lock);
    CHECK(pares_guard_wait(guard, PARES_FOR_EVER) == 1 && pares_guard_should_stop(guard) == 1);
    pthread_mutex_lock(&lock);
    ended = term;
    pthread_mutex_unlock(&lock);
}

static void jobs(pares_instance *one, pares_instance *two)
{
    pares_job *first = NULL, *second = NULL;
    GIVES(PARES_NOT_SUPERVISOR, pares_step_down(two, PATIENCE_MS));
    freed = 0;
    OK(pares_while_supervisor(one, job, &freed, count_free, &first));
    OK(pares_while_supervisor(two, job, &freed, count_free, &second));
    pthread_mutex_lock(&lock);
    while (began != 1)
        pthread_cond_wait(&bell, &lock);
    pthread_mutex_unlock(&lock);
    OK(pares_step_down(one, PARES_FOR_EVER));
    CHECK(ended == 1 && pares_instance_is_supervisor(two) == 1);
    pthread_mutex_lock(&lock);
    while (began != 2)
        pthread_cond_wait(&bell, &lock);
    pthread_mutex_unlock(&lock);
    CHECK(freed == 0);
    OK(pares_job_end(second));
    CHECK(ended == 2 && freed == 1);
    OK(pares_job_end(first));
    CHECK(freed == 2);
}

static int readable(int descriptor, int patience_ms)
{
    struct pollfd one;
    one.fd = descriptor;
    one.events = POLLIN;
    one.revents = 0;
    return poll(&one, 1, patience_ms);
}

/* The descriptor is readable exactly while there is something; `two` leaves. */
static void polling(pares_instance *two)
{
    pares_events *events = NULL;
    const pares_event *event = NULL;
    int descriptor = -1, same = -1;
    OK(pares_events_open(two, &events));
    OK(pares_events_descriptor(events, &descriptor));
    OK(pares_events_descriptor(events, &same));
    CHECK(descriptor >= 0 && descriptor == same && readable(descriptor, 0) == 1);
    OK(pares_events_next(events, 0, &event));
    CHECK(event->kind == PARES_EVENT_SUPERVISOR && event->term == 2);
    OK(pares_free(event));
    OK(pares_events_next(events, PATIENCE_MS, &event));
    CHECK(event->kind == PARES_EVENT_SETTLED);
    OK(pares_free(event));
    GIVES(PARES_DEADLINE, pares_events_next(events, 0, &event));
    GIVES(PARES_DEADLINE, pares_events_next(events, 1, &event));
    CHECK(event == NULL && readable(descriptor, 0) == 0);
    OK(pares_broadcast(two, "wake", "up", 2, PATIENCE_MS, NULL));
    CHECK(readable(descriptor, PATIENCE_MS) == 1);
    OK(pares_leave(two));
    do {
        CHECK(readable(descriptor, 0) == 1);
        OK(pares_events_next(events, 0, &event));
        same = event->kind;
        OK(pares_free(event));
    } while (same != PARES_EVENT_STOPPED);
    CHECK(readable(descriptor, 0) == 1);
    GIVES(PARES_END, pares_events_next(events, PARES_FOR_EVER, &event));
    CHECK(readable(descriptor, 0) == 1);
    OK(pares_events_close(events));
}

/* The peer whose workload is asked for, known to its callback only once its joining has returned.
 */
static pares_peer *asked;
static int asking;

static uint16_t workload(void *user)
{
    CHECK(user == &freed);
    pthread_mutex_lock(&lock);
    asking++;
    if (asked != NULL) {
        GIVES(PARES_IN_CALLBACK, pares_peer_leave(asked));
        GIVES(PARES_IN_CALLBACK, pares_peer_leave_at_once(asked));
        GIVES(PARES_IN_CALLBACK, pares_peer_wait_admitted(asked, PARES_FOR_EVER));
    }
    pthread_mutex_unlock(&lock);
    return 41;
}

/* Reads all events. True if then there is none, and the descriptor says so; another may come in
 * between. */
static int is_read(pares_peer_events *events, int descriptor)
{
    const pares_peer_event *event = NULL;
    pares_result result;
    while ((result = pares_peer_events_next(events, 0, &event)) == PARES_OK)
        OK(pares_free(event));
    CHECK(result == PARES_DEADLINE);
    return readable(descriptor, 0) == 0;
}

static pares_peer *join_peer_with_everything(uint16_t port, uint8_t rank,
                                             pares_workload_function function)
{
    static const char *const PEERS[] = {"127.0.0.1:4000", "localhost:4001"};
    static const char *const WORDS[] = {"true", "\xfc"};
    pares_peer_config *config = NULL;
    pares_peer *peer = NULL;
    OK(pares_peer_config_new("capi", &config));
    OK(pares_peer_config_multicast(config, "239.1.2.3:4000", NULL));
    OK(pares_peer_config_multicast(config, "[ff02::4d47]:4000", "lo"));
    OK(pares_peer_config_unicast(config, "0.0.0.0:4000", PEERS, 2));
    OK(pares_peer_config_local(config, port));
    OK(pares_peer_config_lan(config));
    OK(pares_peer_config_lossy(config));
    GIVES(PARES_INVALID, pares_peer_config_interval(config, 99)); /* the delay is a second */
    OK(pares_peer_config_delay(config, 1000));
    OK(pares_peer_config_interval(config, 1000));
    OK(pares_peer_config_service(config, 7));
    OK(pares_peer_config_rank(config, rank));
    OK(pares_peer_config_origin(config, 0));
    OK(pares_peer_config_preempt(config, 0));
    OK(pares_peer_config_preempt(config, 1));
    OK(pares_peer_config_quorum(config, 1));
    OK(pares_peer_config_slow_above(config, 100));
    OK(pares_peer_config_max_members(config, 16));
    OK(pares_peer_config_need(config, 7, 0, UINT16_MAX));
    OK(pares_peer_config_need(config, 8, 0, 4));
    GIVES(PARES_INVALID, pares_peer_config_need(config, 8, 0, 4));
    OK(pares_peer_config_can_start(config, 0));
    OK(pares_peer_config_launcher(config, WORDS, 2));
    OK(pares_peer_config_directory(config, getenv("PARES_DIR")));
    OK(pares_peer_config_key_file(config, getenv("CAPI_KEY_FILE")));
    OK(pares_peer_config_also_key_file(config, getenv("CAPI_KEY_FILE")));
    OK(pares_peer_config_events(config, 64));
    OK(pares_peer_config_prepare_handover(config, 1));
    OK(pares_peer_config_workload(config, 40));
    OK(pares_peer_config_observe(config, 1));
    OK(pares_peer_config_observe(config, 0));
    if (function != NULL) {
        OK(pares_peer_config_workload_from(config, function, &freed, count_free));
        CHECK(freed == 0);
        OK(pares_peer_config_workload_from(config, function, &freed, count_free));
        CHECK(freed == 1); /* the first one's */
    }
    OK(pares_peer_join(config, &peer));
    OK(pares_peer_config_free(config));
    return peer;
}

/* 1 if the peer knows just two, of which the one that is not itself is primary. */
static int follows(pares_peer *peer)
{
    const pares_peer_listing *listing = NULL;
    const pares_peer_info *other;
    int yes;
    OK(pares_peer_list(peer, &listing));
    if (listing->count != 2) {
        OK(pares_free(listing));
        return 0;
    }
    CHECK(strcmp(listing->peers[0]->id->text, listing->peers[1]->id->text) < 0);
    CHECK(listing->peers[0]->own + listing->peers[1]->own == 1);
    other = listing->peers[listing->peers[0]->own];
    CHECK(other->service == 7 && other->direct == 1 && strlen(other->id->tail) == 22);
    yes = other->status == PARES_PEER_PRIMARY && other->epoch > 0 && other->workload == 41;
    OK(pares_free(listing));
    return yes;
}

/* 1 if it is the peer itself that has least to do. */
static int is_least_loaded(pares_peer *peer)
{
    const pares_peer_info *info = NULL;
    int yes;
    GIVES(PARES_NO_SUCH_PEER, pares_peer_least_loaded(peer, 9, &info));
    CHECK(info == NULL);
    OK(pares_peer_least_loaded(peer, 7, &info));
    yes = info->own && info->workload == 3;
    OK(pares_free(info));
    return yes;
}

static uint32_t rank_of(pares_peer *peer)
{
    const pares_identifier *id = NULL;
    uint32_t rank;
    OK(pares_peer_id(peer, &id));
    rank = id->rank;
    CHECK(id->sequence > 0 && strlen(id->text) == 34 &&
          strstr(id->text, id->tail) == id->text + 12);
    OK(pares_free(id));
    return rank;
}

/* A masterless group of two: what each knows, a handover by a directive, and two ways to leave. */
static void peers(uint16_t port)
{
    pares_peer *one, *two;
    pares_peer_events *events_of_one = NULL, *events = NULL;
    const pares_peer_event *event = NULL;
    const pares_identifier *id = NULL;
    const pares_token *token = NULL, *next = NULL;
    const pares_counters *counters = NULL;
    const char *group = NULL;
    int status = 0, descriptor = -1, same = -1;
    freed = 0;
    one = join_peer_with_everything(port, 10, workload);
    pthread_mutex_lock(&lock);
    asked = one;
    pthread_mutex_unlock(&lock);
    OK(pares_peer_events_open(one, &events_of_one));
    event = await_peer_event(events_of_one, PARES_PEER_EVENT_ROLE);
    CHECK(event->monotonic_ns != 0 && event->cause >= PARES_ROLE_STARTED);
    OK(pares_free(event));
    OK(pares_peer_wait_admitted(one, PARES_FOR_EVER));
    CHECK(await_peer_status(events_of_one, PARES_PEER_PRIMARY) > 0);
    while (status != PARES_PEER_PRIMARY)
        OK(pares_peer_status(one, &status));
    CHECK(rank_of(one) == 10);

    two = join_peer_with_everything(port, 200, NULL);
    OK(pares_peer_wait_admitted(two, PATIENCE_MS));
    GIVES(PARES_NOT_PRIMARY, pares_peer_token(two, &token));
    CHECK(token == NULL && pares_peer_lease_ok(two) == 0);
    OK(pares_peer_group(two, &group));
    CHECK(strcmp(group, "capi") == 0);
    OK(pares_free(group));
    AWAIT(follows(two));
    OK(pares_peer_set_workload(two, 3));
    AWAIT(is_least_loaded(two));
    OK(pares_peer_process_ended(two, 1));
    /* A stall of a busy machine may cost the role, until it is taken again. */
    AWAIT(pares_peer_token(one, &token) == PARES_OK);
    AWAIT(pares_peer_lease_ok(one));
    CHECK(token->epoch > 0 && token->id->rank == 10 && strlen(token->fence) == 48);

    OK(pares_peer_events_open(two, &events));
    OK(pares_peer_events_descriptor(events, &descriptor));
    OK(pares_peer_events_descriptor(events, &same));
    CHECK(descriptor >= 0 && descriptor == same && readable(descriptor, 0) == 1);
    OK(pares_peer_id(one, &id));
    OK(pares_peer_direct(two, id->tail, 250));
    OK(pares_free(id));
    event = await_peer_event(events_of_one, PARES_PEER_EVENT_PREPARE_HANDOVER);
    CHECK(event->id->rank == 200 && event->within_ms > 0);
    OK(pares_free(event));
    OK(pares_peer_handover_ready(one));
    CHECK(readable(descriptor, PATIENCE_MS) == 1);
    CHECK(await_peer_status(events, PARES_PEER_PRIMARY) > token->epoch);
    AWAIT(pares_peer_token(two, &next) == PARES_OK);
    CHECK(strcmp(next->fence, token->fence) > 0);
    OK(pares_free(next));
    OK(pares_free(token));
    CHECK(rank_of(one) == 250);
    OK(pares_peer_set_rank(one, 251));
    AWAIT(rank_of(one) == 251);

    OK(pares_peer_counters(two, &counters));
    CHECK(counters->sent > 2 && counters->heard > 2 && counters->malformed == 0 &&
          counters->not_authentic == 0);
    OK(pares_free(counters));
    pthread_mutex_lock(&lock);
    CHECK(asking > 1);
    asked = NULL;
    pthread_mutex_unlock(&lock);
    CHECK(freed == 1);
    OK(pares_peer_leave_at_once(one));
    CHECK(freed == 2);
    event = await_peer_event(events, PARES_PEER_EVENT_LEFT);
    CHECK(event->cause == PARES_PEER_LEFT && strcmp(event->text, "left") == 0 &&
          event->service == 7);
    OK(pares_free(event));
    event = await_peer_event(events_of_one, PARES_PEER_EVENT_STOPPED);
    OK(pares_free(event));
    GIVES(PARES_END, pares_peer_events_next(events_of_one, PARES_FOR_EVER, &event));
    CHECK(event == NULL);
    OK(pares_peer_events_close(events_of_one));

    AWAIT(is_read(events, descriptor));
    OK(pares_peer_leave(two));
    CHECK(readable(descriptor, PATIENCE_MS) == 1);
    event = await_peer_event(events, PARES_PEER_EVENT_STOPPED);
    OK(pares_free(event));
    GIVES(PARES_END, pares_peer_events_next(events, PATIENCE_MS, &event));
    CHECK(readable(descriptor, 0) == 1);
    OK(pares_peer_events_close(events));
}

int main(int count, char **arguments)
{
    const uint16_t port = begin(count, arguments);
    pares_instance *one, *two, *late = NULL;
    pares_config *config;
    pares_permit *permit = NULL;
    pares_tally *tally = NULL;
    uint64_t total = 0;
    library();
    one = join_with_everything(port, "one");
    two = join_with_everything(port, "two");
    instances(one, two);
    registry(two, port);
    calls(two);
    permits(one, two);
    tallies(one, two);
    settings(one, two);
    messages(one, two);
    jobs(one, two);

    config = new_config(port, "two");
    OK(pares_config_key_file(config, getenv("CAPI_KEY_FILE")));
    GIVES(PARES_NAME_TAKEN, pares_join(config, &late));
    CHECK(late == NULL);
    OK(pares_config_free(config));

    OK(pares_acquire(two, "seats", 1, PATIENCE_MS, &permit));
    OK(pares_tally_open(two, "seats", &tally));
    freed = 0;
    polling(two);
    CHECK(freed == 1);
    CHECK(pares_permit_is_valid(permit) == 0);
    GIVES(PARES_STOPPED, pares_tally_total(tally, PATIENCE_MS, &total));
    OK(pares_permit_release(permit));
    OK(pares_tally_free(tally));
    OK(pares_leave(one));
    CHECK(freed == 2);
    peers(port);
    puts("done");
    return 0;
}
