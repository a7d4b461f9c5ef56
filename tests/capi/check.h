/* What the C programs of the tests have in common. C99 and C++. Each program ends with 0, or says
 * where it failed. */
#ifndef CHECK_H
#define CHECK_H

#include <pares_peer.h>

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Longer than anything here takes on a busy machine; only a defect reaches it. */
#define PATIENCE_MS 300000

/* Seconds after which a program that hangs is ended. Under valgrind, beside other work, one has
 * needed four minutes. */
#define LIFETIME 1800

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s (last error: %s)\n", __FILE__, __LINE__,            \
                    #condition, pares_last_error());                                               \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* The call gives just this result. */
#define GIVES(result, call)                                                                        \
    do {                                                                                           \
        const int given = (call);                                                                  \
        if (given != (int)(result)) {                                                              \
            fprintf(stderr, "%s:%d: %s gives %s: %s\n", __FILE__, __LINE__, #call,                 \
                    pares_result_name(given), pares_last_error());                                 \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#define OK(call) GIVES(PARES_OK, call)

/* Asks `is_so` until it is so: what a peer hears of another is told by no event. */
#define AWAIT(is_so)                                                                               \
    do {                                                                                           \
        while (!(is_so))                                                                           \
            poll(NULL, 0, 10);                                                                     \
    } while (0)

/* As `poll` says: 1 if there is something to read within that time. */
static inline int readable(int descriptor, int patience_ms)
{
    struct pollfd one;
    one.fd = descriptor;
    one.events = POLLIN;
    one.revents = 0;
    return poll(&one, 1, patience_ms);
}

/* The port is the first argument; the directory is in the environment. Ends the program if it
 * hangs. */
static inline uint16_t begin(int count, char **arguments)
{
    alarm(LIFETIME);
    CHECK(count == 2);
    return (uint16_t)atoi(arguments[1]);
}

static inline pares_config *new_config(uint16_t port, const char *name)
{
    pares_config *config = NULL;
    OK(pares_config_new("capi", &config));
    OK(pares_config_port(config, port));
    OK(pares_config_name(config, name));
    OK(pares_config_join_timeout(config, PATIENCE_MS));
    return config;
}

static inline pares_instance *join(uint16_t port, const char *name)
{
    pares_config *config = new_config(port, name);
    pares_instance *instance = NULL;
    OK(pares_config_resource(config, "seats", 2));
    OK(pares_join(config, &instance));
    OK(pares_config_free(config));
    return instance;
}

/* Takes events until one of this kind, which is handed out. */
static inline const pares_event *await_event(pares_events *events, int kind)
{
    for (;;) {
        const pares_event *event = NULL;
        OK(pares_events_next(events, PATIENCE_MS, &event));
        if (event->kind == kind)
            return event;
        OK(pares_free(event));
    }
}

/* Of a masterless group on this machine; slower than the default, for under valgrind all is some
 * fifty times slower. */
static inline pares_peer_config *new_peer_config(uint16_t port, uint8_t rank)
{
    pares_peer_config *config = NULL;
    OK(pares_peer_config_new("capi", &config));
    OK(pares_peer_config_local(config, port));
    OK(pares_peer_config_rank(config, rank));
    OK(pares_peer_config_interval(config, 300));
    OK(pares_peer_config_delay(config, 300));
    return config;
}

static inline pares_peer *join_peer(uint16_t port, uint8_t rank)
{
    pares_peer_config *config = new_peer_config(port, rank);
    pares_peer *peer = NULL;
    OK(pares_peer_join(config, &peer));
    OK(pares_peer_config_free(config));
    return peer;
}

/* Takes events until one of this kind, which is handed out. */
static inline const pares_peer_event *await_peer_event(pares_peer_events *events, int kind)
{
    for (;;) {
        const pares_peer_event *event = NULL;
        OK(pares_peer_events_next(events, PATIENCE_MS, &event));
        if (event->kind == kind)
            return event;
        OK(pares_free(event));
    }
}

/* Takes events until the peer has this status; gives its epoch if that is primary, else 0. */
static inline uint64_t await_peer_status(pares_peer_events *events, int status)
{
    for (;;) {
        const pares_peer_event *event = await_peer_event(events, PARES_PEER_EVENT_ROLE);
        const int is_it = event->to == status;
        const uint64_t epoch = event->token == NULL ? 0 : event->token->epoch;
        CHECK((event->to == PARES_PEER_PRIMARY) == (event->token != NULL) &&
              strlen(event->text) > 0);
        OK(pares_free(event));
        if (is_it)
            return epoch;
    }
}

/* 1 if the peer, admitted, has heard of another one that is primary. */
static inline int knows_primary(pares_peer *peer)
{
    const pares_peer_listing *listing = NULL;
    int found = 0, admitted = 0;
    size_t i;
    OK(pares_peer_list(peer, &listing));
    for (i = 0; i < listing->count; i++) {
        found |= !listing->peers[i]->own && listing->peers[i]->status == PARES_PEER_PRIMARY;
        admitted |= listing->peers[i]->own && listing->peers[i]->status == PARES_PEER_STANDBY;
    }
    OK(pares_free(listing));
    return found && admitted;
}

#endif
