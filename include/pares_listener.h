/**
 * pares: one listening socket for all instances of a group.
 *
 * This header includes pares.h, whose conventions hold here too.
 *
 * All instances that listen at an address share one and the same socket. Connections that nobody
 * has accepted yet wait in it, not in a process: the death of an instance loses none of them. The
 * supervisor deals out turns: each instance gets its share of the connections.
 */
#ifndef PARES_LISTENER_H
#define PARES_LISTENER_H

#include "pares.h"

#ifdef __cplusplus
extern "C" {
#endif

/** An instance at a shared listener. Any thread may use it. */
typedef struct pares_listener pares_listener;

/** Which of the instances that share a listener accepts the next connection. */
typedef enum pares_policy {
    /** The library's choice: PARES_POLICY_EVEN. */
    PARES_POLICY_DEFAULT = 0,
    /** Each in proportion to its weight. */
    PARES_POLICY_EVEN = 1,
    /** The one with the fewest open connections for its weight: call pares_listener_closed(). */
    PARES_POLICY_CONNECTIONS = 2,
    /** The one of the highest weight; another one only while that has no room. */
    PARES_POLICY_STANDBY = 3,
    /** The quickest instance; there are no turns. */
    PARES_POLICY_FREE = 4
} pares_policy;

/**
 * Accepts connections at an address together with all instances of the group that listen there.
 * Blocks until the listener is there, at most `timeout_ms`. That takes milliseconds as a rule, and
 * up to a second more after an election if another program has the address.
 *
 * @param address       such as "0.0.0.0:80" or "[::1]:80"; the port must not be 0
 * @param weight        0: the default, 1; an instance of weight 2 gets twice as many connections
 * @param policy        0: the default, PARES_POLICY_EVEN
 * @param capacity      the most turns at once; 0: the default, 16
 * @param backlog       how many connections may wait, if this instance makes the socket; 0: the
 *                      default, 4096
 * @param listener_out  receives a handle; free it with pares_listener_free()
 *
 * @return PARES_OK, or, with nothing left behind: PARES_INVALID, PARES_PORT_HELD,
 * PARES_PORT_FORBIDDEN, PARES_NOT_HERE, PARES_TOO_MANY, PARES_DEADLINE, PARES_NO_SUPERVISOR,
 * PARES_STOPPED, PARES_IO
 */
pares_result pares_listen(pares_instance *instance, const char *address, uint16_t weight,
                          pares_policy policy, uint32_t capacity, uint32_t backlog,
                          uint64_t timeout_ms, pares_listener **listener_out);

/**
 * Accepts the next connection in turn. Blocks until there is one, at most `timeout_ms`; 0 does not
 * block.
 *
 * @param descriptor_out  receives a blocking socket, closed on exec; close it with close()
 *
 * @return PARES_OK; PARES_DEADLINE if none came; PARES_END if this instance accepts no more here;
 * PARES_STOPPED if it has left; PARES_IO, after which another attempt may succeed
 */
pares_result pares_listener_accept(pares_listener *listener, uint64_t timeout_ms,
                                   int *descriptor_out);

/** Says that one of the accepted connections has been closed. Only PARES_POLICY_CONNECTIONS and
 * pares_listener_wait_closed() need it. */
pares_result pares_listener_closed(pares_listener *listener);

/**
 * Returns a descriptor to poll: readable when pares_listener_accept() without a timeout has
 * something to do, which may be no more than a word of the supervisor's (PARES_DEADLINE). Needs
 * Linux.
 *
 * @param descriptor_out  receives a descriptor that lives as long as the listener; do not close it
 */
pares_result pares_listener_fd(pares_listener *listener, int *descriptor_out);

/**
 * Returns a copy of the listening socket, for a program that this one starts, and that accepts
 * without turns (PARES_POLICY_FREE). Whether it blocks is the same for all who share it.
 *
 * @param descriptor_out  receives a descriptor, closed on exec; close it with close()
 */
pares_result pares_listener_socket(pares_listener *listener, int *descriptor_out);

/** Accepts no more: others get the turns, and pares_listener_accept() returns PARES_END. Does not
 * block. Accepted connections go on. */
pares_result pares_listener_drain(pares_listener *listener);

/** Returns 1 if no more connections are accepted here, also because an operator has asked for it
 * (`pares drain`), and for no valid handle; otherwise 0. */
int pares_listener_is_drained(pares_listener *listener);

/** Waits until pares_listener_closed() was called once per accepted connection. Blocks at most
 * `timeout_ms`, then returns PARES_DEADLINE. */
pares_result pares_listener_wait_closed(pares_listener *listener, uint64_t timeout_ms);

/** Drains a listener and frees its handle. NULL is allowed. Other threads that use it return. */
pares_result pares_listener_free(pares_listener *listener);

#ifdef __cplusplus
}
#endif

#endif
