/*
 * One of several processes that agree on a primary, which does the work that only one may do. They
 * need no supervisor. To use several machines, call pares_peer_config_multicast() and
 * pares_peer_config_lan() instead of pares_peer_config_local().
 *
 *     cc -Iinclude examples/peer.c -lpares -o peer
 *     ./peer 22000 & ./peer 22000 & ./peer 22000        then kill the one that says "primary"
 */
#include <pares_peer.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Reports a failure and exits; a real program would continue where it can. */
static void check(pares_result result, const char *what)
{
    if (result == PARES_OK)
        return;
    fprintf(stderr, "%s: %s: %s\n", what, pares_result_name(result), pares_last_error());
    exit(1);
}

/* The work that only the primary may do, now and then. */
static void act(pares_peer *self)
{
    const pares_token *token = NULL;
    if (!pares_peer_lease_ok(self) || pares_peer_token(self, &token) != PARES_OK)
        return;
    /* ... write, and pass `token->fence` to the store, which keeps the largest fence and refuses
     * smaller ones ... */
    printf("acted under %s\n", token->fence);
    pares_free(token);
}

/* Takes all pending events. Returns 0 once no more will come. */
static int take_events(pares_peer *self, pares_peer_events *events)
{
    const pares_peer_event *event = NULL;
    pares_result result;
    while ((result = pares_peer_events_next(events, 0, &event)) == PARES_OK) {
        switch (event->kind) {
        case PARES_PEER_EVENT_ROLE:
            printf("%s (%s)\n", pares_peer_status_name(event->to), event->text);
            if (event->to == PARES_PEER_PRIMARY)
                act(self);
            break;
        case PARES_PEER_EVENT_PREPARE_HANDOVER:
            /* ... finish the present work ... */
            check(pares_peer_handover_ready(self), "hand over");
            break;
        case PARES_PEER_EVENT_EPOCH_BUMP:
            printf("primary on, epoch %llu: reads all again\n",
                   (unsigned long long)event->token->epoch);
            break;
        case PARES_PEER_EVENT_JOINED:
        case PARES_PEER_EVENT_SUSPECTED:
        case PARES_PEER_EVENT_LEFT:
            printf("%s %s\n", event->id->text, pares_peer_event_kind_name(event->kind));
            break;
        default: /* nothing to do, or a kind of a later version */
            break;
        }
        pares_free(event);
    }
    return result != PARES_END;
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

int main(int count, char **arguments)
{
    pares_peer_config *config = NULL;
    pares_peer *self = NULL;
    pares_peer_events *events = NULL;
    struct pollfd waits[2];
    struct sigaction action;
    int ends[2], going = 1;
    if (count != 2 && count != 3) {
        fprintf(stderr, "usage: %s PORT [RANK]\n", arguments[0]);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (pipe(ends) != 0) {
        perror("peer");
        return 1;
    }
    signalled = ends[1];
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);

    check(pares_peer_config_new("peer", &config), "configure");
    check(pares_peer_config_local(config, (uint16_t)atoi(arguments[1])), "port");
    if (count == 3)
        check(pares_peer_config_rank(config, (uint8_t)atoi(arguments[2])), "rank");
    check(pares_peer_config_prepare_handover(config, 1), "prepare");
    check(pares_peer_join(config, &self), "join");
    check(pares_peer_config_free(config), "free");
    check(pares_peer_events_open(self, &events), "subscribe");

    /* One loop waits for everything. */
    check(pares_peer_events_descriptor(events, &waits[0].fd), "poll");
    waits[1].fd = ends[0];
    waits[0].events = waits[1].events = POLLIN;
    while (going) {
        const int ready = poll(waits, 2, 1000);
        if (ready == 0)
            act(self);
        if (ready <= 0)
            continue; /* EINTR */
        if (waits[0].revents != 0)
            going = take_events(self, events);
        if (waits[1].revents != 0)
            going = 0;
    }

    /* A primary hands over first; its work is finished. */
    check(pares_peer_leave(self), "leave");
    check(pares_peer_events_close(events), "close");
    printf("left\n");
    return 0;
}
