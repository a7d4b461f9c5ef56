/* Whatever a program does wrong is recognised, and does no harm. */
#include "bad.h"

static void function(pares_reply *reply, const void *payload, size_t bytes, void *user)
{
    (void)reply, (void)payload, (void)bytes, (void)user;
}

static void job(const pares_guard *guard, void *user)
{
    (void)guard, (void)user;
}

static void handles(void)
{
    static const char TEXT[] = "text";
    int number;
    size_t size;
    uint64_t units;
    const char *text;
    const void *bytes;
    pares_instance *instance;
    pares_job *a_job;
    pares_events *events;
    pares_permit *permit;
    pares_tally *tally;
    const pares_event *event;
    const pares_listing *listing;
    const pares_status *status;
    const pares_usages *usages;
    const pares_settings *settings;
    size_t at;
    REFUSES_HANDLES(pares_config, pares_config_port(H, 1));
    REFUSES_HANDLES(pares_config, pares_config_name(H, TEXT));
    REFUSES_HANDLES(pares_config, pares_config_directory(H, TEXT));
    REFUSES_HANDLES(pares_config, pares_config_key_file(H, TEXT));
    REFUSES_HANDLES(pares_config, pares_config_meta(H, TEXT, TEXT));
    REFUSES_HANDLES(pares_config, pares_config_join_timeout(H, 1));
    REFUSES_HANDLES(pares_config, pares_config_settle_time(H, 1));
    REFUSES_HANDLES(pares_config, pares_config_may_supervise(H, 0));
    REFUSES_HANDLES(pares_config, pares_config_max_members(H, 1));
    REFUSES_HANDLES(pares_config, pares_config_events(H, 2));
    REFUSES_HANDLES(pares_config, pares_config_release_on_crash(H, 1));
    REFUSES_HANDLES(pares_config, pares_config_hang_timeout(H, 1000));
    REFUSES_HANDLES(pares_config, pares_config_end_hung_supervisor(H, 0));
    REFUSES_HANDLES(pares_config, pares_config_resource(H, TEXT, 1));
    REFUSES_HANDLES(pares_config, pares_config_resource_per_holder(H, TEXT, 1, 1));
    REFUSES_HANDLES(pares_config, pares_config_function(H, TEXT, NULL, function, NULL, NULL));
    REFUSES_HANDLES(pares_config, pares_join(H, &instance));
    FREES_ONLY_ITS_OWN(pares_config, pares_config_free(H));

    REFUSES_HANDLES(pares_reply, pares_reply_set(H, TEXT, 1));
    REFUSES_HANDLES(pares_reply, pares_reply_fail(H, TEXT));

    REFUSES_HANDLES(pares_instance, pares_instance_name(H, &text));
    REFUSES_HANDLES(pares_instance, pares_pulse(H));
    REFUSES_HANDLES(pares_instance, pares_instance_role(H, &number));
    REFUSES_HANDLES(pares_instance, pares_instance_term(H, &units));
    REFUSES_HANDLES(pares_instance, pares_step_down(H, 1));
    REFUSES_HANDLES(pares_instance, pares_call(H, TEXT, TEXT, NULL, 0, 1, &bytes, &size));
    REFUSES_HANDLES(pares_instance, pares_while_supervisor(H, job, NULL, NULL, &a_job));
    REFUSES_HANDLES(pares_instance, pares_events_open(H, &events));
    REFUSES_HANDLES(pares_instance, pares_registry_list(H, 1, &listing));
    REFUSES_HANDLES(pares_instance, pares_registry_look_up(H, TEXT, 1, &listing));
    REFUSES_HANDLES(pares_instance, pares_registry_status(H, 1, &status));
    REFUSES_HANDLES(pares_instance, pares_acquire(H, TEXT, 1, 1, &permit));
    REFUSES_HANDLES(pares_instance, pares_try_acquire(H, TEXT, 1, &permit));
    REFUSES_HANDLES(pares_instance, pares_tally_open(H, TEXT, &tally));
    REFUSES_HANDLES(pares_instance, pares_usage_list(H, NULL, 1, &usages));
    REFUSES_HANDLES(pares_instance, pares_set_limit(H, TEXT, 1, 1));
    REFUSES_HANDLES(pares_instance, pares_revoke(H, TEXT, TEXT, 1, NULL));
    REFUSES_HANDLES(pares_instance, pares_setting_get(H, TEXT, &text, NULL));
    REFUSES_HANDLES(pares_instance, pares_setting_set(H, TEXT, TEXT, 1));
    REFUSES_HANDLES(pares_instance, pares_setting_unset(H, TEXT, 1));
    REFUSES_HANDLES(pares_instance, pares_setting_compare_and_set(H, TEXT, TEXT, TEXT, 1, NULL));
    REFUSES_HANDLES(pares_instance, pares_setting_list(H, &settings));
    REFUSES_HANDLES(pares_instance, pares_broadcast(H, TEXT, NULL, 0, 1, NULL));
    REFUSES_HANDLES(pares_instance, pares_send(H, TEXT, TEXT, NULL, 0, 1));
    FREES_ONLY_ITS_OWN(pares_instance, pares_leave(H));

    REFUSES_HANDLES(pares_events, pares_events_next(H, 0, &event));
    REFUSES_HANDLES(pares_events, pares_events_descriptor(H, &number));
    FREES_ONLY_ITS_OWN(pares_events, pares_events_close(H));
    REFUSES_HANDLES(pares_permit, pares_permit_id(H, &units));
    FREES_ONLY_ITS_OWN(pares_permit, pares_permit_release(H));
    REFUSES_HANDLES(pares_tally, pares_tally_add(H, 1, NULL));
    REFUSES_HANDLES(pares_tally, pares_tally_sub(H, 1, NULL));
    REFUSES_HANDLES(pares_tally, pares_tally_count(H, &units));
    REFUSES_HANDLES(pares_tally, pares_tally_total(H, 1, &units));
    FREES_ONLY_ITS_OWN(pares_tally, pares_tally_free(H));
    FREES_ONLY_ITS_OWN(pares_job, pares_job_end(H));
    REFUSES_HANDLES(const pares_guard, pares_guard_term(H, &units));
    FREES_ONLY_ITS_OWN(void, pares_free(H));

    for (at = 0; at < bad_count; at++) {
        CHECK(pares_instance_is_supervisor((pares_instance *)bad[at]) == 0);
        CHECK(pares_permit_is_valid((pares_permit *)bad[at]) == 0);
        CHECK(pares_guard_should_stop((pares_guard *)bad[at]) == 1);
        CHECK(pares_guard_wait((pares_guard *)bad[at], PARES_FOR_EVER) == 1);
    }
    CHECK(pares_instance_is_supervisor(NULL) == 0 && pares_permit_is_valid(NULL) == 0);
    CHECK(pares_guard_should_stop(NULL) == 1 && pares_guard_wait(NULL, PARES_FOR_EVER) == 1);
}

/* NULL for each argument that must not be. */
static void nulls(pares_config *config, pares_instance *instance)
{
    const void *bytes = "";
    size_t size = 7;
    const int null = PARES_NULL_ARGUMENT;
    GIVES(null, pares_config_new("capi", NULL));
    GIVES(null, pares_config_name(config, NULL));
    GIVES(null, pares_config_directory(config, NULL));
    GIVES(null, pares_config_key_file(config, NULL));
    GIVES(null, pares_config_meta(config, NULL, "v"));
    GIVES(null, pares_config_meta(config, "k", NULL));
    GIVES(null, pares_config_resource(config, NULL, 1));
    GIVES(null, pares_config_resource_per_holder(config, NULL, 1, 1));
    freed = 0;
    GIVES(null, pares_config_function(config, NULL, NULL, function, NULL, count_free));
    GIVES(null, pares_config_function(config, "f", NULL, NULL, NULL, count_free));
    CHECK(freed == 2);
    GIVES(null, pares_join(config, NULL));
    GIVES(null, pares_instance_name(instance, NULL));
    GIVES(null, pares_instance_role(instance, NULL));
    GIVES(null, pares_instance_term(instance, NULL));
    GIVES(null, pares_call(instance, NULL, "f", NULL, 0, 1, &bytes, &size));
    CHECK(bytes == NULL && size == 0);
    GIVES(null, pares_call(instance, "n", NULL, NULL, 0, 1, &bytes, &size));
    GIVES(null, pares_call(instance, "n", "f", NULL, 1, 1, &bytes, &size));
    GIVES(null, pares_call(instance, "n", "f", NULL, 0, 1, NULL, &size));
    GIVES(null, pares_call(instance, "n", "f", NULL, 0, 1, &bytes, NULL));
    GIVES(null, pares_while_supervisor(instance, job, NULL, count_free, NULL));
    {
        pares_job *a_job = NULL;
        GIVES(null, pares_while_supervisor(instance, NULL, NULL, count_free, &a_job));
        CHECK(freed == 4 && a_job == NULL);
    }
    GIVES(null, pares_events_open(instance, NULL));
    GIVES(null, pares_registry_list(instance, 1, NULL));
    GIVES(null, pares_registry_look_up(instance, "n", 1, NULL));
    {
        const pares_listing *listing = NULL;
        GIVES(null, pares_registry_look_up(instance, NULL, 1, &listing));
    }
    GIVES(null, pares_registry_status(instance, 1, NULL));
    GIVES(null, pares_acquire(instance, "seats", 1, 1, NULL));
    GIVES(null, pares_try_acquire(instance, "seats", 1, NULL));
    {
        pares_permit *permit = NULL;
        pares_tally *tally = NULL;
        GIVES(null, pares_acquire(instance, NULL, 1, 1, &permit));
        GIVES(null, pares_try_acquire(instance, NULL, 1, &permit));
        OK(pares_acquire(instance, "seats", 1, PATIENCE_MS, &permit));
        GIVES(null, pares_permit_id(permit, NULL));
        OK(pares_permit_release(permit));
        GIVES(null, pares_tally_open(instance, "seats", NULL));
        GIVES(null, pares_tally_open(instance, NULL, &tally));
        OK(pares_tally_open(instance, "seats", &tally));
        GIVES(null, pares_tally_count(tally, NULL));
        GIVES(null, pares_tally_total(tally, 1, NULL));
        OK(pares_tally_free(tally));
    }
    GIVES(null, pares_usage_list(instance, NULL, 1, NULL));
    GIVES(null, pares_set_limit(instance, NULL, 1, 1));
    GIVES(null, pares_revoke(instance, NULL, "n", 1, NULL));
    GIVES(null, pares_revoke(instance, "seats", NULL, 1, NULL));
    {
        const char *value = "";
        GIVES(null, pares_setting_get(instance, NULL, &value, NULL));
        CHECK(value == NULL);
    }
    GIVES(null, pares_setting_get(instance, "k", NULL, NULL));
    GIVES(null, pares_setting_set(instance, NULL, "v", 1));
    GIVES(null, pares_setting_set(instance, "k", NULL, 1));
    GIVES(null, pares_setting_unset(instance, NULL, 1));
    GIVES(null, pares_setting_compare_and_set(instance, NULL, "e", "v", 1, NULL));
    GIVES(null, pares_setting_compare_and_set(instance, "k", "e", NULL, 1, NULL));
    GIVES(null, pares_setting_list(instance, NULL));
    GIVES(null, pares_broadcast(instance, NULL, NULL, 0, 1, NULL));
    GIVES(null, pares_broadcast(instance, "t", NULL, 1, 1, NULL));
    GIVES(null, pares_send(instance, NULL, "t", NULL, 0, 1));
    GIVES(null, pares_send(instance, "n", NULL, NULL, 0, 1));
    GIVES(null, pares_send(instance, "n", "t", NULL, 1, 1));
    {
        pares_events *events = NULL;
        OK(pares_events_open(instance, &events));
        GIVES(null, pares_events_next(events, 0, NULL));
        GIVES(null, pares_events_descriptor(events, NULL));
        OK(pares_events_close(events));
    }
}

/* Text that is not UTF-8, too long, or not allowed; numbers out of range. Nothing is changed by it.
 */
static void values(pares_config *config, pares_instance *instance)
{
    static const char LATIN[] = "K\xf6ln";
    static const char SURROGATE[] = "\xed\xa0\x80";
    static char long_text[1 << 17];
    pares_config *other = NULL;
    pares_permit *permit = NULL;
    pares_tally *tally = NULL;
    const void *result = NULL;
    const pares_listing *listing = NULL;
    size_t size = 0;
    int i;
    memset(long_text, 'x', sizeof long_text - 1);
    GIVES(PARES_NOT_UTF8, pares_config_new(LATIN, &other));
    GIVES(PARES_NOT_UTF8, pares_config_name(config, LATIN));
    GIVES(PARES_NOT_UTF8, pares_config_name(config, SURROGATE));
    GIVES(PARES_NOT_UTF8, pares_config_meta(config, "city", LATIN));
    GIVES(PARES_NOT_UTF8, pares_config_resource(config, LATIN, 1));
    freed = 0;
    GIVES(PARES_NOT_UTF8, pares_config_function(config, LATIN, "", function, NULL, count_free));
    GIVES(PARES_NOT_UTF8, pares_config_function(config, "f", LATIN, function, NULL, count_free));
    GIVES(PARES_INVALID, pares_config_function(config, "a b", "", function, NULL, count_free));
    GIVES(PARES_INVALID, pares_config_function(config, long_text, "", function, NULL, count_free));
    CHECK(freed == 4);
    GIVES(PARES_INVALID, pares_config_new("", &other));
    GIVES(PARES_INVALID, pares_config_new("../etc", &other));
    GIVES(PARES_INVALID, pares_config_new(long_text, &other));
    CHECK(other == NULL);
    GIVES(PARES_INVALID, pares_config_port(config, 0));
    GIVES(PARES_INVALID, pares_config_name(config, ""));
    GIVES(PARES_INVALID, pares_config_name(config, "main"));
    GIVES(PARES_INVALID, pares_config_name(config, long_text));
    CHECK(strstr(pares_last_error(), "128 bytes") != NULL);
    GIVES(PARES_INVALID, pares_config_meta(config, "", "v"));
    GIVES(PARES_INVALID, pares_config_meta(config, "k", long_text));
    GIVES(PARES_INVALID, pares_config_max_members(config, 0));
    GIVES(PARES_INVALID, pares_config_events(config, 1));
    GIVES(PARES_INVALID, pares_config_resource(config, "seats", UINT64_MAX));
    GIVES(PARES_INVALID, pares_config_resource(config, long_text, 1));
    OK(pares_config_resource(config, "once", 1));
    GIVES(PARES_INVALID, pares_config_resource(config, "once", 1));

    GIVES(PARES_NOT_UTF8, pares_acquire(instance, LATIN, 1, 1, &permit));
    GIVES(PARES_INVALID, pares_acquire(instance, long_text, 1, 1, &permit));
    GIVES(PARES_INVALID, pares_acquire(instance, "seats", UINT64_MAX, 1, &permit));
    GIVES(PARES_INVALID, pares_tally_open(instance, "a b", &tally));
    GIVES(PARES_NOT_UTF8, pares_call(instance, LATIN, "f", NULL, 0, 1, &result, &size));
    GIVES(PARES_INVALID,
          pares_call(instance, "main", "ping", long_text, SIZE_MAX, 1, &result, &size));
    GIVES(PARES_NO_SUCH_INSTANCE,
          pares_call(instance, long_text, "f", NULL, 0, PATIENCE_MS, &result, &size));
    GIVES(PARES_NO_SUCH_INSTANCE,
          pares_registry_look_up(instance, long_text, PATIENCE_MS, &listing));
    GIVES(PARES_INVALID, pares_setting_set(instance, "k", long_text, PATIENCE_MS));
    GIVES(PARES_INVALID, pares_setting_set(instance, long_text, "v", PATIENCE_MS));
    GIVES(PARES_INVALID, pares_setting_set(instance, "a b", "v", PATIENCE_MS));
    GIVES(PARES_NOT_UTF8, pares_setting_set(instance, "k", LATIN, PATIENCE_MS));
    GIVES(PARES_INVALID,
          pares_broadcast(instance, "t", long_text, sizeof long_text, PATIENCE_MS, NULL));
    GIVES(PARES_INVALID, pares_broadcast(instance, long_text, "", 0, PATIENCE_MS, NULL));
    GIVES(PARES_INVALID,
          pares_send(instance, "main", "t", long_text, sizeof long_text, PATIENCE_MS));

    for (i = 0; i < 63; i++) { /* `seats` is one already */
        char name[16];
        snprintf(name, sizeof name, "tally-%d", i);
        OK(pares_tally_open(instance, name, &tally));
        OK(pares_tally_free(tally));
    }
    GIVES(PARES_TOO_MANY, pares_tally_open(instance, "one-more", &tally));
    CHECK(tally == NULL);
}

int main(int count, char **arguments)
{
    const uint16_t port = begin(count, arguments);
    pares_config *config = new_config(port, "other");
    pares_instance *instance = collect_bad(port), *joined = NULL;
    const pares_event *event = NULL;
    int local = 0;

    nulls(config, instance);
    values(config, instance);
    handles();

    /* Of another type, and alive: unharmed. */
    GIVES(PARES_BAD_HANDLE, pares_config_free((pares_config *)instance));
    GIVES(PARES_BAD_HANDLE, pares_leave((pares_instance *)config));
    GIVES(PARES_BAD_HANDLE, pares_permit_release((pares_permit *)instance));
    GIVES(PARES_BAD_HANDLE, pares_events_next((pares_events *)instance, 0, &event));
    GIVES(PARES_BAD_HANDLE, pares_free(instance));
    GIVES(PARES_BAD_HANDLE, pares_free(&local));
    CHECK(pares_instance_is_supervisor(instance) == 1);

    OK(pares_join(config, &joined)); /* nothing of all this has changed it */
    OK(pares_leave(joined));
    GIVES(PARES_BAD_HANDLE, pares_leave(joined));
    OK(pares_config_free(config));
    GIVES(PARES_BAD_HANDLE, pares_config_free(config));
    OK(pares_leave(instance));
    puts("done");
    return 0;
}
