/* Masterless groups of several processes and several threads: a primary that is killed is replaced,
 * one that leaves names its successor, and whoever waits is called away. */
#include "check.h"

#include <signal.h>
#include <sys/types.h>
#include <sys/wait.h>

/* Another process: primary until it is killed, or until its parent is gone. Tells its epoch through
 * `out`. */
static void be_primary(uint16_t port, int in, int out)
{
    pares_peer *peer;
    pares_peer_events *events = NULL;
    uint64_t epoch;
    char byte;
    alarm(LIFETIME);
    peer = join_peer(port, 10);
    OK(pares_peer_events_open(peer, &events));
    epoch = await_peer_status(events, PARES_PEER_PRIMARY);
    CHECK(write(out, &epoch, sizeof epoch) == (ssize_t)sizeof epoch);
    while (read(in, &byte, 1) > 0) {
    }
    _exit(1);
}

static void a_killed_primary_is_replaced(uint16_t port)
{
    int up[2], down[2], status = 0;
    uint64_t epoch = 0, mine;
    pares_peer *peer;
    pares_peer_events *events = NULL;
    const pares_peer_event *event;
    const pares_token *token = NULL;
    pid_t pid;
    CHECK(pipe(up) == 0 && pipe(down) == 0);
    pid = fork(); /* nothing of the library is used yet */
    CHECK(pid >= 0);
    if (pid == 0) {
        close(down[1]);
        be_primary(port, down[0], up[1]);
    }
    close(up[1]);
    close(down[0]);
    CHECK(read(up[0], &epoch, sizeof epoch) == (ssize_t)sizeof epoch && epoch > 0);

    peer = join_peer(port, 100);
    OK(pares_peer_events_open(peer, &events));
    AWAIT(knows_primary(peer)); /* or it would be no loss */
    CHECK(kill(pid, SIGKILL) == 0);
    event = await_peer_event(events, PARES_PEER_EVENT_LEFT);
    CHECK(event->cause == PARES_PEER_DIED && event->id->rank == 10);
    OK(pares_free(event));
    mine = await_peer_status(events, PARES_PEER_PRIMARY);
    CHECK(mine > epoch);
    OK(pares_peer_token(peer, &token));
    CHECK(token->epoch >= mine && token->id->rank == 100);
    OK(pares_free(token));
    CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    OK(pares_peer_events_close(events));
    OK(pares_peer_leave(peer));
    close(up[0]);
    close(down[1]);
}

static void a_primary_that_leaves_names_its_successor(uint16_t port)
{
    pares_peer *first = join_peer(port, 10), *second;
    pares_peer_events *events_of_first = NULL, *events = NULL;
    const pares_peer_event *event;
    uint64_t epoch;
    int named = 0;
    OK(pares_peer_events_open(first, &events_of_first));
    epoch = await_peer_status(events_of_first, PARES_PEER_PRIMARY);
    OK(pares_peer_events_close(events_of_first));
    second = join_peer(port, 20);
    AWAIT(knows_primary(second));
    OK(pares_peer_events_open(second, &events));
    OK(pares_peer_leave(first));
    while (!named) {
        event = await_peer_event(events, PARES_PEER_EVENT_ROLE);
        named = event->to == PARES_PEER_PRIMARY;
        /* On a machine that is so busy that one of both stood still, nobody objects instead of one
         * being named. */
        if (named)
            CHECK((event->cause == PARES_ROLE_CAUSE_NAMED ||
                   event->cause == PARES_ROLE_CAUSE_UNOPPOSED) &&
                  event->token->epoch > epoch);
        OK(pares_free(event));
    }
    OK(pares_peer_leave_at_once(second));
    OK(pares_peer_events_close(events));
}

static size_t count_of(pares_peer *peer)
{
    const pares_peer_listing *listing = NULL;
    size_t count;
    OK(pares_peer_list(peer, &listing));
    count = listing->count;
    OK(pares_free(listing));
    return count;
}

static void *leave(void *peer)
{
    OK(pares_peer_leave((pares_peer *)peer));
    return NULL;
}

/* Takes events until one of this kind, which is handed out; NULL if the peer has left before. */
static const pares_peer_event *event_before_the_end(pares_peer_events *events, int kind)
{
    const pares_peer_event *event = NULL;
    int result;
    while ((result = pares_peer_events_next(events, PATIENCE_MS, &event)) == PARES_OK) {
        if (event->kind == kind)
            return event;
        OK(pares_free(event));
    }
    CHECK(result == PARES_END);
    return NULL;
}

/* One thread leaves; another one hears what is to be prepared, and answers with the same handle. 0
 * if it was not done by the time at which a peer leaves in any case: that is a number of intervals,
 * and a machine can be too busy for it. */
static int hands_over(uint16_t port, uint64_t interval)
{
    pares_peer_config *config = new_peer_config(port, 10);
    pares_peer *first = NULL, *second = NULL;
    pares_peer_events *events = NULL;
    const pares_peer_event *event;
    pthread_t thread;
    int handed_over = 0;
    OK(pares_peer_config_interval(config, interval));
    OK(pares_peer_config_prepare_handover(config, 1));
    OK(pares_peer_join(config, &first));
    OK(pares_peer_config_rank(config, 20));
    OK(pares_peer_config_prepare_handover(config, 0));
    OK(pares_peer_events_open(first, &events));
    await_peer_status(events, PARES_PEER_PRIMARY);
    OK(pares_peer_join(config, &second));
    OK(pares_peer_config_free(config));
    OK(pares_peer_wait_admitted(second, PATIENCE_MS));
    AWAIT(knows_primary(second) && count_of(first) == 2);
    CHECK(pthread_create(&thread, NULL, leave, first) == 0);
    event = event_before_the_end(events, PARES_PEER_EVENT_PREPARE_HANDOVER);
    if (event != NULL) {
        int result;
        OK(pares_free(event));
        result = pares_peer_handover_ready(first);
        CHECK(result == PARES_OK || result == PARES_STOPPED || result == PARES_BAD_HANDLE);
    }
    while (!handed_over && (event = event_before_the_end(events, PARES_PEER_EVENT_ROLE)) != NULL) {
        handed_over =
            event->to == PARES_PEER_STANDBY && event->cause == PARES_ROLE_CAUSE_HANDED_OVER;
        OK(pares_free(event));
    }
    CHECK(pthread_join(thread, NULL) == 0);
    GIVES(PARES_BAD_HANDLE, pares_peer_handover_ready(first));
    OK(pares_peer_events_close(events));
    OK(pares_peer_leave_at_once(second));
    return handed_over;
}

static void who_leaves_says_from_another_thread_that_its_work_has_ended(uint16_t port)
{
    uint64_t interval = 300;
    while (!hands_over(port, interval)) {
        fprintf(stderr, "with an interval of %d ms there was no time to hand over\n",
                (int)interval);
        interval *= 2;
        CHECK(interval < 10000);
    }
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t bell = PTHREAD_COND_INITIALIZER;
static int waiting;

static void begin_to_wait(void)
{
    pthread_mutex_lock(&lock);
    waiting++;
    pthread_cond_broadcast(&bell);
    pthread_mutex_unlock(&lock);
}

static void *wait_for_admission(void *peer)
{
    int result;
    begin_to_wait();
    result = pares_peer_wait_admitted((pares_peer *)peer, PARES_FOR_EVER);
    CHECK(result == PARES_STOPPED ||
          result == PARES_BAD_HANDLE); /* this one, if it came too late to wait */
    return NULL;
}

static void *wait_for_end(void *events)
{
    const pares_peer_event *event = NULL;
    int result;
    begin_to_wait();
    while ((result = pares_peer_events_next((pares_peer_events *)events, PARES_FOR_EVER, &event)) ==
           PARES_OK)
        OK(pares_free(event));
    CHECK(result == PARES_END);
    return NULL;
}

static void *wait_for_close(void *events)
{
    const pares_peer_event *event = NULL;
    int result;
    begin_to_wait();
    while ((result = pares_peer_events_next((pares_peer_events *)events, PARES_FOR_EVER, &event)) ==
           PARES_OK)
        OK(pares_free(event));
    CHECK(result == PARES_END || result == PARES_BAD_HANDLE);
    return NULL;
}

static void leaving_and_closing_call_away_who_waits(uint16_t port)
{
    pares_peer_config *config = new_peer_config(port, 1);
    pares_peer *peer = NULL;
    pares_peer_events *ended = NULL, *closed = NULL;
    pthread_t threads[3];
    int i;
    OK(pares_peer_config_observe(config, 1)); /* which is never admitted */
    OK(pares_peer_join(config, &peer));
    OK(pares_peer_config_free(config));
    GIVES(PARES_DEADLINE, pares_peer_wait_admitted(peer, 0));
    GIVES(PARES_DEADLINE, pares_peer_wait_admitted(peer, 1));
    OK(pares_peer_events_open(peer, &ended));
    OK(pares_peer_events_open(peer, &closed));
    CHECK(pthread_create(&threads[0], NULL, wait_for_admission, peer) == 0);
    CHECK(pthread_create(&threads[1], NULL, wait_for_end, ended) == 0);
    CHECK(pthread_create(&threads[2], NULL, wait_for_close, closed) == 0);
    pthread_mutex_lock(&lock);
    while (waiting != 3)
        pthread_cond_wait(&bell, &lock);
    pthread_mutex_unlock(&lock);
    OK(pares_peer_events_close(closed));
    OK(pares_peer_leave(peer));
    for (i = 0; i < 3; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    OK(pares_peer_events_close(ended));
}

/* A subscription that nobody takes from says how much it misses, once there is room again. */
static void who_does_not_take_misses_events(uint16_t port)
{
    pares_peer_config *config = new_peer_config(port, 1);
    pares_peer *peer = NULL;
    pares_peer_events *events = NULL;
    const pares_peer_event *event = NULL;
    uint64_t missed = 0;
    int round;
    OK(pares_peer_config_events(config, 2));
    OK(pares_peer_join(config, &peer));
    OK(pares_peer_config_free(config));
    OK(pares_peer_events_open(peer, &events));
    for (round = 0; missed == 0; round++) {
        pares_peer *other = join_peer(port, 2);
        OK(pares_peer_wait_admitted(other, PATIENCE_MS));
        AWAIT(count_of(peer) == 2);
        OK(pares_peer_leave_at_once(other));
        AWAIT(count_of(peer) == 1);
        /* Its own start, admission and acquisition, and coming and going of the other: more than it
         * holds. */
        while (round > 0 && pares_peer_events_next(events, 0, &event) == PARES_OK) {
            missed += event->missed;
            CHECK((event->missed != 0) == (event->kind == PARES_PEER_EVENT_MISSED));
            OK(pares_free(event));
        }
    }
    OK(pares_peer_leave_at_once(peer));
    OK(pares_peer_events_close(events));
}

int main(int count, char **arguments)
{
    const uint16_t port = begin(count, arguments);
    a_killed_primary_is_replaced(port);
    a_primary_that_leaves_names_its_successor(port);
    who_leaves_says_from_another_thread_that_its_work_has_ended(port);
    leaving_and_closing_call_away_who_waits(port);
    who_does_not_take_misses_events(port);
    puts("done");
    return 0;
}
