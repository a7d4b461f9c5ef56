/* Every function of a masterless group does what the header says, with two peers in one process. */
#include "check.h"

static int freed;

static void count_free(void *user)
{
    CHECK(user == &freed);
    freed++;
}

static void names(void)
{
    CHECK(strcmp(pares_peer_status_name(PARES_PEER_TO_BECOME_PRIMARY), "to-become-primary") == 0);
    CHECK(strcmp(pares_peer_status_name(0), "unknown status") == 0);
    CHECK(strcmp(pares_peer_event_kind_name(PARES_PEER_EVENT_PREPARE_HANDOVER),
                 "prepare-handover") == 0);
    CHECK(strcmp(pares_peer_event_kind_name(0), "unknown event") == 0);
}

/* The peer whose workload is asked for, known to its callback only once its joining has returned.
 */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
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
    OK(pares_peer_config_label(config, ""));
    OK(pares_peer_config_label(config, rank == 10 ? "one" : "two\033\n"));
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
    CHECK(strcmp(other->label, "one") == 0);
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

/* What the primary's job has seen. */
static int job_freed, job_began, job_ended;

static void free_job(void *user)
{
    CHECK(user == &job_freed);
    job_freed++;
}

static void job(const pares_peer_guard *guard, void *user)
{
    const pares_token *token = NULL;
    CHECK(user == &job_freed);
    OK(pares_peer_guard_token(guard, &token));
    CHECK(token->epoch > 0 && strlen(token->fence) == 48);
    OK(pares_free(token));
    /* A stall of a busy machine may cost the role. */
    CHECK(pares_peer_guard_lease_ok(guard) == 1 || pares_peer_guard_should_stop(guard) == 1);
    pthread_mutex_lock(&lock);
    job_began++;
    pthread_mutex_unlock(&lock);
    while (pares_peer_guard_wait(guard, PARES_FOR_EVER) == 0)
        ;
    CHECK(pares_peer_guard_should_stop(guard) == 1);
    pthread_mutex_lock(&lock);
    job_ended++;
    pthread_mutex_unlock(&lock);
}

static int is(const int *count)
{
    int yes;
    pthread_mutex_lock(&lock);
    yes = *count > 0;
    pthread_mutex_unlock(&lock);
    return yes;
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
    const char *group = NULL, *label = NULL;
    pares_peer_job *first_job = NULL, *second_job = NULL;
    int status = 0, descriptor = -1, same = -1;
    one = join_peer_with_everything(port, 10, workload);
    pthread_mutex_lock(&lock);
    asked = one;
    pthread_mutex_unlock(&lock);
    OK(pares_peer_events_open(one, &events_of_one));
    event = await_peer_event(events_of_one, PARES_PEER_EVENT_ROLE);
    CHECK(event->monotonic_ns != 0 && event->cause >= PARES_ROLE_CAUSE_STARTED);
    OK(pares_free(event));
    OK(pares_peer_wait_admitted(one, PARES_FOR_EVER));
    CHECK(await_peer_status(events_of_one, PARES_PEER_PRIMARY) > 0);
    while (status != PARES_PEER_PRIMARY)
        OK(pares_peer_status(one, &status));
    CHECK(rank_of(one) == 10);
    OK(pares_peer_while_primary(one, job, &job_freed, free_job, &first_job));
    AWAIT(is(&job_began));

    two = join_peer_with_everything(port, 200, NULL);
    OK(pares_peer_wait_admitted(two, PATIENCE_MS));
    GIVES(PARES_NOT_PRIMARY, pares_peer_token(two, &token));
    CHECK(token == NULL && pares_peer_lease_ok(two) == 0);
    OK(pares_peer_group(two, &group));
    CHECK(strcmp(group, "capi") == 0);
    OK(pares_free(group));
    OK(pares_peer_label(two, &label));
    CHECK(strcmp(label, "two?") == 0);
    OK(pares_free(label));
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
    CHECK(strcmp(event->label, "two?") == 0);
    OK(pares_free(event));
    AWAIT(is(&job_ended));
    OK(pares_peer_handover_ready(one));
    CHECK(readable(descriptor, PATIENCE_MS) == 1);
    CHECK(await_peer_status(events, PARES_PEER_PRIMARY) > token->epoch);
    AWAIT(pares_peer_token(two, &next) == PARES_OK);
    CHECK(strcmp(next->fence, token->fence) > 0);
    OK(pares_free(next));
    OK(pares_free(token));
    CHECK(rank_of(one) == 250);
    OK(pares_peer_job_end(first_job));
    CHECK(job_freed == 1);
    job_began = 0;
    OK(pares_peer_while_primary(two, job, &job_freed, free_job, &second_job));
    AWAIT(is(&job_began));
    OK(pares_peer_job_end(second_job));
    CHECK(job_freed == 2);
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
          event->service == 7 && strcmp(event->label, "one") == 0);
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
    names();
    peers(port);
    puts("done");
    return 0;
}
