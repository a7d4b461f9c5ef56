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
    CHECK(strcmp(pares_role_name(PARES_ROLE_SUBORDINATE), "subordinate") == 0);
    CHECK(strcmp(pares_role_name(0), "unknown role") == 0);
    CHECK(strcmp(pares_event_kind_name(PARES_EVENT_PERMIT_LOST), "permit-lost") == 0);
    CHECK(strcmp(pares_event_kind_name(-1), "unknown event") == 0);
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
    CHECK(role == PARES_ROLE_SUPERVISOR);
    OK(pares_instance_role(two, &role));
    CHECK(role == PARES_ROLE_SUBORDINATE);
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
          listing->entries[0]->role == PARES_ROLE_SUPERVISOR);
    CHECK(listing->entries[1]->role == PARES_ROLE_SUBORDINATE);
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
    GIVES(PARES_NO_SUCH_SETTING, pares_setting_get(one, "mode", &value, &bytes));
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
    GIVES(PARES_SETTING_CHANGED,
          pares_setting_compare_and_set(one, "mode", "fast", "slow", PATIENCE_MS, &value));
    CHECK(strcmp(value, "safe") == 0);
    OK(pares_free(value));
    GIVES(PARES_SETTING_CHANGED,
          pares_setting_compare_and_set(one, "mode", NULL, "slow", PATIENCE_MS, NULL));
    GIVES(PARES_SETTING_CHANGED,
          pares_setting_compare_and_set(one, "none", "some", "slow", PATIENCE_MS, &value));
    CHECK(value == NULL);
    OK(pares_setting_compare_and_set(one, "level", NULL, "", PATIENCE_MS, NULL));
    OK(pares_setting_list(one, &all));
    CHECK(all->count == 2 && strcmp(all->keys[0], "level") == 0 &&
          strcmp(all->values[1], "safe") == 0);
    CHECK(all->value_bytes[0] == 0 && all->value_bytes[1] == 4);
    OK(pares_free(all));
    OK(pares_setting_unset(one, "mode", PATIENCE_MS));
    GIVES(PARES_NO_SUCH_SETTING, pares_setting_get(one, "mode", &value, NULL));
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
    puts("done");
    return 0;
}
