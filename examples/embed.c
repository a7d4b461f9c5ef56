/*
 * A worker that shares the machine with others. It reads orders from standard input; all workers
 * together process two orders at a time. One of the workers keeps the books, and operators can ask
 * each worker how many orders it has processed.
 *
 *     cc -Iinclude examples/embed.c -lpares -lpthread -o embed
 *     ./embed anna 21000 & ./embed berta 21000        pares -g embed -p 21000 call anna done
 */
#include <pares.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pares_instance *self;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned done;

/* Reports a failure and exits; a real program would continue where it can. */
static void check(pares_result result, const char *what)
{
    if (result == PARES_OK)
        return;
    fprintf(stderr, "%s: %s: %s\n", what, pares_result_name(result), pares_last_error());
    exit(1);
}

/* An admin function: answers with the number of orders. It runs on a thread of the library. */
static void say_done(pares_reply *reply, const void *payload, size_t payload_bytes, void *user)
{
    char text[16];
    (void)payload, (void)payload_bytes, (void)user;
    pthread_mutex_lock(&lock);
    snprintf(text, sizeof text, "%u", done);
    pthread_mutex_unlock(&lock);
    pares_reply_set(reply, text, strlen(text));
}

/* Runs on one worker only; when that worker dies, another takes over. */
static void keep_books(const pares_guard *guard, void *user)
{
    uint64_t term = 0;
    (void)user;
    pares_guard_term(guard, &term);
    printf("keeping the books, term %llu\n", (unsigned long long)term);
    while (!pares_guard_wait(
        guard, 60000)) { /* once a minute: writes elsewhere, with `term` */
    }
    printf("no longer keeping the books\n");
}

/* Processes the orders one by one, each with a permit, for which it waits without limit. */
static void *work(void *unused)
{
    char order[128];
    while (fgets(order, sizeof order, stdin) != NULL) {
        pares_permit *permit = NULL;
        pares_result result;
        order[strcspn(order, "\n")] = '\0';
        result = pares_acquire(self, "machine", 1, PARES_FOR_EVER, &permit);
        if (result != PARES_OK)
            break; /* PARES_STOPPED: this worker is leaving */
        /* ... the work ... */
        pares_permit_release(permit);
        pthread_mutex_lock(&lock);
        done++;
        pthread_mutex_unlock(&lock);
        printf("did %s\n", order);
    }
    return unused;
}

/* The write end of a pipe for signals, which the loop below reads like everything else. */
static int signalled;

static void on_signal(int signal)
{
    const int before = errno;
    const char byte = (char)signal;
    if (write(signalled, &byte, 1) < 0) { /* full: the loop wakes up anyway */
    }
    errno = before;
}

/* Takes all pending events. Returns 0 once no more will come. */
static int take_events(pares_events *events)
{
    const pares_event *event = NULL;
    pares_result result;
    while ((result = pares_events_next(events, 0, &event)) == PARES_OK) {
        const int kind = event->kind;
        printf("event: %s", pares_event_kind_name(kind));
        if (kind == PARES_EVENT_SUBORDINATE)
            printf(" of %s", event->name);
        if (kind == PARES_EVENT_MESSAGE)
            printf(": %s says %.*s", event->name, (int)event->payload_bytes,
                   (const char *)event->payload);
        printf("\n");
        pares_free(event);
        if (kind == PARES_EVENT_STOP_ASKED)
            return 0; /* an operator stopped this worker */
    }
    return result != PARES_END;
}

int main(int count, char **arguments)
{
    pares_config *config = NULL;
    pares_events *events = NULL;
    pares_job *job = NULL;
    struct pollfd waits[2];
    struct sigaction action;
    pthread_t worker;
    int ends[2], going = 1;
    if (count != 3) {
        fprintf(stderr, "usage: %s NAME PORT\n", arguments[0]);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);

    check(pares_config_new("embed", &config), "configure");
    check(pares_config_name(config, arguments[1]), "name");
    check(pares_config_port(config, (uint16_t)atoi(arguments[2])), "port");
    check(pares_config_resource(config, "machine", 2), "declare");
    check(
        pares_config_function(config, "done", "returns the number of orders", say_done, NULL, NULL),
        "function");
    check(pares_join(config, &self), "join");
    check(pares_config_free(config), "free");
    check(pares_events_open(self, &events), "subscribe");
    check(pares_while_supervisor(self, keep_books, NULL, NULL, &job), "job");

    if (pipe(ends) != 0 || pthread_create(&worker, NULL, work, NULL) != 0) {
        perror("embed");
        return 1;
    }
    signalled = ends[1];
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);

    /* One loop waits for everything. */
    check(pares_events_descriptor(events, &waits[0].fd), "poll");
    waits[1].fd = ends[0];
    waits[0].events = waits[1].events = POLLIN;
    while (going) {
        if (poll(waits, 2, -1) < 0)
            continue; /* EINTR */
        if (waits[0].revents != 0)
            going = take_events(events);
        if (waits[1].revents != 0)
            going = 0;
    }

    /* Ends the job, and the worker's wait for a permit. */
    check(pares_leave(self), "leave");
    check(pares_job_end(job), "end");
    check(pares_events_close(events), "close");
    printf("left\n");
    return 0;
}
