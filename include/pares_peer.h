/**
 * pares: masterless groups. Processes on one machine or several agree by heartbeats on which of
 * them is primary. These groups have no supervisor and no registry.
 *
 * This header includes pares.h, whose conventions hold here too. A process can be in groups of both
 * kinds at once; the two kinds know nothing of each other. Both are in libpares.
 *
 *     cc program.c -lpares        or: cc program.c $(pkg-config --cflags --libs pares)
 *
 * Each process in a group is a peer. It broadcasts heartbeats, by default five per second, and
 * keeps its own record of all others. From these records the peers agree on a primary for each
 * service type.
 *
 * While heartbeats arrive in time (pares_peer_config_delay()), no two peers of one service type are
 * primary at once. No protocol that relies on messages can promise this while the network is
 * partitioned, or for a process that was suspended and does not know it yet. A primary therefore
 * calls pares_peer_lease_ok() right before each act, and passes the `fence` of its
 * pares_peer_token() to whatever stores the result, which must refuse a smaller fence than it has
 * seen.
 *
 * All peers of a group must have the same group, key, transport, interval and delay.
 */
#ifndef PARES_PEER_H
#define PARES_PEER_H

#include "pares.h"

#ifdef __cplusplus
extern "C" {
#endif

/** The configuration of a peer. */
typedef struct pares_peer_config pares_peer_config;

/**
 * Returns the present workload. The thread that sends the heartbeats calls it and sends none until
 * it returns: it should return a number that is already known.
 */
typedef uint16_t (*pares_workload_function)(void *user);

/**
 * Makes a configuration with all defaults: service type 0, rank 128, heartbeats every 200 ms to
 * this machine only.
 *
 * @param group       name of the group, 1 to 64 characters of A-Z a-z 0-9 . _ - ; NULL: "default"
 * @param config_out  receives a handle; free it with pares_peer_config_free()
 */
pares_result pares_peer_config_new(const char *group, pares_peer_config **config_out);

/** Sets the service type. Each service type of a group has its own primary. Default: 0. */
pares_result pares_peer_config_service(pares_peer_config *config, uint16_t service);

/**
 * Sets the rank. The peer with the smallest rank becomes primary; among equal ranks, the one that
 * was admitted first. A peer of rank 255 never becomes primary, but is a witness of who is.
 * Default: 128.
 */
pares_result pares_peer_config_rank(pares_peer_config *config, uint8_t rank);

/**
 * Sets the peer's name for people. Its heartbeats carry the label, and the other peers show it. A
 * label is any UTF-8: the library cuts it to 32 bytes, at a character, and replaces control
 * characters by '?'. Two peers may have the same one. "": no label. Default: the machine's name up
 * to the first dot and the program's name, such as "worker-1/scheduler".
 */
pares_result pares_peer_config_label(pares_peer_config *config, const char *label);

/**
 * Sets the number of the start that created this process: `origin` of PARES_PEER_EVENT_SPAWN, or
 * the environment variable PARES_ORIGIN if a launcher started it. 0 means that no peer of the group
 * started it. Default: 0.
 */
pares_result pares_peer_config_origin(pares_peer_config *config, uint32_t origin);

/**
 * Sends heartbeats to all peers on this machine, on this UDP port (not 0) of the loopback network.
 * Several groups may use one port. Default: this transport, with a port derived from the group and
 * the user.
 */
pares_result pares_peer_config_local(pares_peer_config *config, uint16_t port);

/**
 * Sends heartbeats to a multicast group, and thus to each process on the local network that has
 * joined it. They do not pass routers. Call pares_peer_config_lan() or pares_peer_config_lossy() as
 * well.
 *
 * @param group      its address and port, such as "239.1.2.3:4000" or "[ff02::4d47]:4000"
 * @param interface  the name of a network interface, or one of its addresses; NULL: the system
 *                   chooses
 */
pares_result pares_peer_config_multicast(pares_peer_config *config, const char *group,
                                         const char *interface);

/**
 * Sends heartbeats to each of `peers`, for networks without multicast. A peer is an address with a
 * port, such as "10.0.0.7:4000" or "[fe80::7%2]:4000", or a name with a port, such as
 * "worker-1:4000". For a name, heartbeats go to all its addresses in the address family of `bind`.
 * They also go to every other address from which a peer of the group is heard, while it is heard.
 *
 * The library looks names up on threads of their own, so no heartbeat waits for a name server.
 * pares_peer_join() looks them up first, for at most 1000 ms, and continues without those that take
 * longer. They are looked up again when an address falls silent, and at least every 30 s. A failed
 * look-up is logged once and repeated without end. A peer is not admitted until all names have been
 * looked up once. If it has no other peer to send to and no name server answers, it cannot send
 * (PARES_PEER_EVENT_CANNOT_SEND) and is not admitted. A name that does not exist keeps no peer out.
 *
 * @param bind        the address with a port at which this peer sends and receives; "0.0.0.0:4000"
 *                    is every address of this machine
 * @param peers       1 to 256 peers; addresses are in the address family of `bind`. This peer's own
 *                    address may be one of them, so all peers can share one list.
 * @param peer_count  the number of `peers`
 */
pares_result pares_peer_config_unicast(pares_peer_config *config, const char *bind,
                                       const char *const *peers, size_t peer_count);

/**
 * Sets times for a local network: an interval of 500 ms and a delay of 250 ms. If no heartbeat is
 * lost or late, the others replace a dead primary within 2.1 s, on average in 1.8 s.
 */
pares_result pares_peer_config_lan(pares_peer_config *config);

/**
 * Sets times for networks that lose many packets and for machines that pause now and then: an
 * interval and a delay of 1000 ms each. If no heartbeat is lost or late, the others replace a dead
 * primary within 5.2 s, on average in 4.7 s.
 */
pares_result pares_peer_config_lossy(pares_peer_config *config);

/**
 * Sets the interval: the time between two heartbeats, 20 ms to 60 s. It must be the same for all
 * peers. The others suspect a peer that they have not heard for three intervals, and treat it as
 * dead after another two delays. With the defaults, if no heartbeat is lost or late, they replace a
 * dead primary within 0.85 s, on average in 0.7 s. If a delay was set, an interval below a tenth of
 * it returns PARES_INVALID: set the delay first. Default: 200 ms.
 */
pares_result pares_peer_config_interval(pares_peer_config *config, uint64_t interval_ms);

/**
 * Sets the delay: the longest time from the sending of a heartbeat until another peer acts on it,
 * 20 ms to ten intervals. It must be the same for all peers. The promise of at most one primary
 * holds while no heartbeat takes longer; pares_peer_counters() shows what was observed. Default:
 * half the interval.
 */
pares_result pares_peer_config_delay(pares_peer_config *config, uint64_t delay_ms);

/**
 * Sets whether a peer of better rank relieves a living primary, in an orderly hand-over some
 * intervals after it was admitted. With 0 this peer neither relieves another nor is relieved.
 * Default: 1.
 */
pares_result pares_peer_config_preempt(pares_peer_config *config, int preempt);

/**
 * Sets how many peers of the group, itself included, a primary must see. With more than half of the
 * whole group, at most one part of a partitioned group has a primary. With 0 every part has one.
 * Default: 0.
 */
pares_result pares_peer_config_quorum(pares_peer_config *config, size_t processes);

/** Sets the group size above which standbys with low priority send less often. With 0 they never
 * do. Default: 0. */
pares_result pares_peer_config_slow_above(pares_peer_config *config, size_t processes);

/**
 * Sets how many others this peer keeps in its record, 1 to 4096. If there are more, it keeps those
 * that matter to it. Default: 4096.
 */
pares_result pares_peer_config_max_members(pares_peer_config *config, size_t members);

/**
 * Sets how many peers of a service type the group needs: at least `min`, at most `max` (UINT16_MAX:
 * any number). If there are too few, exactly one peer that can start others does so. If there are
 * too many for long, the youngest standby leaves. Call it once for each service type, for at most
 * 64 of them, and with the same numbers in all peers.
 */
pares_result pares_peer_config_need(pares_peer_config *config, uint16_t service, uint16_t min,
                                    uint16_t max);

/** Sets whether the program can start other processes, on PARES_PEER_EVENT_SPAWN. Default: 0. */
pares_result pares_peer_config_can_start(pares_peer_config *config, int can);

/**
 * Sets the program that this peer runs to start another process. The new process finds its group,
 * service type and origin in PARES_GROUP, PARES_SERVICE and PARES_ORIGIN, and the directory and
 * port, if they are set here, in PARES_DIR and PARES_PORT. It lives on when this process ends.
 *
 * @param words       the program and its arguments, any bytes; needs no NULL at its end
 * @param word_count  the number of `words`, at least 1
 */
pares_result pares_peer_config_launcher(pares_peer_config *config, const char *const *words,
                                        size_t word_count);

/**
 * Sets the directory of the group's key and last epochs, an absolute path of any bytes. The library
 * makes a missing directory, for this user only. Default: as for pares_config_directory().
 */
pares_result pares_peer_config_directory(pares_peer_config *config, const char *directory);

/**
 * Sets the file with the group's key, any path. All peers need the same key. Default and checks: as
 * for pares_config_key_file().
 */
pares_result pares_peer_config_key_file(pares_peer_config *config, const char *key_file);

/**
 * Sets the file with a second key, which this peer accepts but does not use. It lets a group change
 * its key without a pause. Restart all peers, one by one, three times: with the new key here; with
 * the new key as the key and the old one here; without the old key.
 */
pares_result pares_peer_config_also_key_file(pares_peer_config *config, const char *also_key_file);

/** Sets how many events a subscription holds before it misses some, at least 2. Default: 1024. */
pares_result pares_peer_config_events(pares_peer_config *config, size_t capacity);

/**
 * Sets whether the program finishes its work before this peer hands over. On
 * PARES_PEER_EVENT_PREPARE_HANDOVER it does so, and calls pares_peer_handover_ready(). With 0 the
 * peer hands over at once. Default: 0.
 */
pares_result pares_peer_config_prepare_handover(pares_peer_config *config, int prepares);

/** Sets the workload of this peer, in any unit that the whole group shares. Default: 0. */
pares_result pares_peer_config_workload(pares_peer_config *config, uint16_t workload);

/**
 * Sets a function that returns the workload. The library calls it once per interval. The last call
 * of this function or of pares_peer_config_workload() counts.
 *
 * @param workload   not NULL
 * @param user       passed to `workload`
 * @param free_user  called once this configuration is freed or given another function, and all
 *                   peers joined with it have left
 */
pares_result pares_peer_config_workload_from(pares_peer_config *config,
                                             pares_workload_function workload, void *user,
                                             pares_free_user free_user);

/**
 * Sets whether this peer only observes: it asks who is there, listens, and is never admitted. Its
 * status is then always PARES_PEER_JOINING. Default: 0.
 */
pares_result pares_peer_config_observe(pares_peer_config *config, int observe);

/** Frees a configuration. Peers that were joined with it keep what they need. */
pares_result pares_peer_config_free(pares_peer_config *config);

/** One participant of a masterless group. A process may have several. */
typedef struct pares_peer pares_peer;

/** The status of a peer. (It has no typedef: a function has its name.) */
enum pares_peer_status {
    /** It listens, and is not admitted yet. */
    PARES_PEER_JOINING = 1,
    /** It is ready to become primary. */
    PARES_PEER_STANDBY = 2,
    /** It becomes primary soon, unless another peer objects. */
    PARES_PEER_TO_BECOME_PRIMARY = 3,
    /** It does the work that only one peer may do. */
    PARES_PEER_PRIMARY = 4,
    /** It is leaving, or has left. */
    PARES_PEER_LEAVING = 5
};

/** The identity and priority of a peer. */
typedef struct pares_identifier {
    /** The whole identifier as text of fixed length: rank, sequence and tail. The smaller of two
     * texts, by strcmp(), has the higher priority. */
    const char *text;
    /** The random part, which never depends on the priority: 22 hexadecimal digits. */
    const char *tail;
    /** 0 to 255. The smaller of two ranks has the higher priority. */
    uint32_t rank;
    /** The peer's position in the order of admission; UINT32_MAX before it is admitted. */
    uint32_t sequence;
} pares_identifier;

/** Identifies one time of being primary. */
typedef struct pares_token {
    /** Grows each time a peer becomes primary. */
    uint64_t epoch;
    /** The peer that became primary. */
    const pares_identifier *id;
    /** The whole token as 48 hexadecimal digits. The larger of two tokens has the larger fence, by
     * strcmp(). */
    const char *fence;
} pares_token;

/** One peer, as this process knows it. */
typedef struct pares_peer_info {
    const pares_identifier *id;
    /** A pares_peer_status, as the peer reports it. */
    int status;
    /** Its service type. */
    uint32_t service;
    /** Its workload. */
    uint32_t workload;
    /** Its own epoch if it is primary, else the largest epoch that it knows. */
    uint64_t epoch;
    /** The time since it was last heard, by another peer if `direct` is 0. */
    uint64_t age_ms;
    /** 1 if it has been silent for three intervals, or the kernel reports its end; else 0. */
    int suspected;
    /** 1 if this process itself hears it; 0 if only others do, and follow it as primary. */
    int direct;
    /** 1 if it is this peer itself, else 0. */
    int own;
    /** Its label; "" if it has none, or if only others hear it. Safe to print. */
    const char *label;
    /** The source of its newest heartbeat, such as "10.0.0.2:30200"; "" of this peer, and of one
     *  that only others hear. */
    const char *address;
} pares_peer_info;

/** The record of one peer at one moment. */
typedef struct pares_peer_listing {
    size_t count;
    /** Sorted by identifier. */
    const pares_peer_info *const *peers;
} pares_peer_listing;

/** Counters of a peer, from the moment it began to join. */
typedef struct pares_counters {
    /** Heartbeats sent. */
    uint64_t sent;
    /** Failed attempts to send a heartbeat to one address. */
    uint64_t not_sent;
    /** Errors of the socket instead of a datagram. */
    uint64_t not_received;
    /** Heartbeats of others accepted. */
    uint64_t heard;
    /** Dropped heartbeats that were replayed, or came from a second peer with the same identifier.
     */
    uint64_t replayed;
    /** Dropped datagrams that are not heartbeats. */
    uint64_t malformed;
    /** Dropped datagrams of another protocol version. */
    uint64_t other_version;
    /** Dropped datagrams of another group, which may share the port. */
    uint64_t other_group;
    /** Dropped datagrams made with a key that this peer does not have. */
    uint64_t unknown_key;
    /** Dropped datagrams that were forged, or damaged on the way. */
    uint64_t not_authentic;
    /** Mistaken claims to become primary: the primary was alive. */
    uint64_t false_claims;
    /** Encounters of this peer, as primary, with another primary. */
    uint64_t conflicts;
    /** Times that this peer remained primary under a new token. */
    uint64_t epoch_bumps;
    /** Times that the record had no room for a peer. */
    uint64_t record_full;
    /** Pauses of this process of more than two intervals. */
    uint64_t pauses;
    /**
     * The longest time between two heartbeats of one peer. If no heartbeat is lost and this exceeds
     * an interval and a delay, the delay is set too small.
     */
    uint64_t longest_gap_ms;
} pares_counters;

/**
 * Begins to join the group: opens the socket, asks all others for a heartbeat, and starts a thread.
 * The library only reads `config`, which may be used again. If no other peer is heard, that is not
 * an error: this peer is then alone.
 *
 * Blocks for some system calls and the look-up of names, but not until the peer is admitted, which
 * usually takes three intervals: see pares_peer_wait_admitted().
 *
 * @param peer_out  receives a handle; free it with pares_peer_leave() or
 *                  pares_peer_leave_at_once()
 *
 * @return PARES_OK, or, with nothing left behind: PARES_KEY, PARES_PORT_HELD, PARES_PORT_FORBIDDEN,
 * PARES_NOT_HERE, PARES_IO
 */
pares_result pares_peer_join(const pares_peer_config *config, pares_peer **peer_out);

/**
 * Leaves the group in order and frees the handle. A primary first lets another peer take over. If
 * pares_peer_config_prepare_handover() is set, another thread must meanwhile answer
 * PARES_PEER_EVENT_PREPARE_HANDOVER. Until this call returns, other threads may make all calls for
 * the peer except this one. The peer's subscriptions end after their last event.
 *
 * Blocks until the peer has left: without a hand-over a quarter of an interval; with one usually
 * about an interval, at most six and a half. In the peer's own callback and in any `free_user` it
 * returns PARES_IN_CALLBACK and does nothing.
 */
pares_result pares_peer_leave(pares_peer *peer);

/**
 * Leaves the group without a hand-over and frees the handle. The others are told, and have a new
 * primary after two delays. Blocks for some system calls, and until the peer's callback has
 * returned. Returns PARES_IN_CALLBACK like pares_peer_leave().
 */
pares_result pares_peer_leave_at_once(pares_peer *peer);

/**
 * Waits until the group admits the peer. Blocks usually for three intervals from the join, at most
 * `timeout_ms`.
 *
 * @return PARES_OK; PARES_DEADLINE; PARES_STOPPED: the peer has left; PARES_IN_CALLBACK in the
 * peer's own callback
 */
pares_result pares_peer_wait_admitted(pares_peer *peer, uint64_t timeout_ms);

/*
 * A peer can leave by itself if the group has too many peers of its service type. Until its handle
 * is freed, its status is then PARES_PEER_LEAVING, it is not primary, and orders to it do nothing.
 */

/** Hands out the name of the peer's group. */
pares_result pares_peer_group(const pares_peer *peer, const char **group_out);

/**
 * Hands out the peer's identifier. Its sequence changes when the peer is admitted and when it loses
 * the role of primary against its will; its rank changes on order; and all of it changes if another
 * peer turns out to have the same one.
 */
pares_result pares_peer_id(const pares_peer *peer, const pares_identifier **id_out);

/** Hands out the peer's label: see pares_peer_config_label(). */
pares_result pares_peer_label(const pares_peer *peer, const char **label_out);

/** Puts a pares_peer_status into `status_out`. */
pares_result pares_peer_status(const pares_peer *peer, int *status_out);

/** Returns the word for a pares_peer_status, such as "to-become-primary". Never NULL. Do not free
 * it. */
const char *pares_peer_status_name(int status);

/**
 * Hands out the token that fences the work of this primary.
 *
 * @return PARES_OK; PARES_NOT_PRIMARY
 */
pares_result pares_peer_token(const pares_peer *peer, const pares_token **token_out);

/**
 * Returns 1 if the peer is primary and, as far as heartbeats can tell, no other can be; else 0,
 * also for a bad handle. Call it right before each act that only the primary may do. It also
 * returns 0 if this process was suspended for so long that others must treat it as dead, even
 * before anything else here has noticed that.
 */
int pares_peer_lease_ok(const pares_peer *peer);

/** Hands out the record: all peers of the group that this one knows, itself included. */
pares_result pares_peer_list(const pares_peer *peer, const pares_peer_listing **listing_out);

/**
 * Hands out the peer of a service type with the least workload, perhaps this one. It considers
 * admitted peers that this process itself hears and does not suspect. Among several it chooses the
 * one with the smallest identifier.
 *
 * @return PARES_OK; PARES_NO_SUCH_PEER: no such peer exists
 */
pares_result pares_peer_least_loaded(const pares_peer *peer, uint16_t service,
                                     const pares_peer_info **info_out);

/**
 * Orders the peer with this tail, another one or this one, to take a rank. Every peer can promote
 * or demote every other. The peer repeats the order for five intervals; the record shows whether it
 * was followed.
 */
pares_result pares_peer_direct(pares_peer *peer, const char *tail, uint8_t rank);

/** Changes the rank of this peer. */
pares_result pares_peer_set_rank(pares_peer *peer, uint8_t rank);

/** Changes the workload of this peer. Its next heartbeat reports it. */
pares_result pares_peer_set_workload(pares_peer *peer, uint16_t workload);

/** A job that runs while its peer is primary. */
typedef struct pares_peer_job pares_peer_job;

/** Tells a running job whether it may act and go on; lives until the job's function returns. */
typedef struct pares_peer_guard pares_peer_guard;

/**
 * The work of the primary. It must return soon after the guard asks for that. Before the role goes
 * to a better peer, the group waits for the job: two intervals for a hand-over, six when the peer
 * leaves. A job that takes longer loses the role while it runs. If it returns by itself, it does
 * not run again until the peer becomes primary the next time.
 */
typedef void (*pares_peer_job_function)(const pares_peer_guard *guard, void *user);

/**
 * Runs `job` on a thread of its own, once each time that this peer becomes primary, until the job's
 * handle is freed or the peer leaves. Then the library calls `free_user`.
 *
 * @param job_out  receives a handle; free it with pares_peer_job_end()
 *
 * @return PARES_OK; PARES_IO: no thread can be started
 */
pares_result pares_peer_while_primary(pares_peer *peer, pares_peer_job_function job, void *user,
                                      pares_free_user free_user, pares_peer_job **job_out);

/**
 * Tells a job to end and frees the handle. Blocks until the job has returned. In the job itself it
 * does not block, and only keeps the job from running again.
 */
pares_result pares_peer_job_end(pares_peer_job *job);

/** Hands out the token under which the job began, to fence what the job writes elsewhere. */
pares_result pares_peer_guard_token(const pares_peer_guard *guard, const pares_token **token_out);

/**
 * Returns 1 if, as far as heartbeats can tell, no other peer can be primary now; else 0, also for a
 * bad handle. Call it right before each act. It still returns 1 while the job ends for a hand-over.
 */
int pares_peer_guard_lease_ok(const pares_peer_guard *guard);

/** Returns 1 once the job must end, also for a bad handle, else 0. */
int pares_peer_guard_should_stop(const pares_peer_guard *guard);

/** Blocks until the job must end, at most `timeout_ms`. Returns 1 once the job must end, also for a
 * bad handle, else 0. */
int pares_peer_guard_wait(const pares_peer_guard *guard, uint64_t timeout_ms);

/**
 * Reports that the program has finished its work as primary; the peer then hands over. It answers
 * PARES_PEER_EVENT_PREPARE_HANDOVER if pares_peer_config_prepare_handover() is set.
 */
pares_result pares_peer_handover_ready(pares_peer *peer);

/**
 * Reports that a process of this machine has ended, if the program learns of it, for example as its
 * parent. The group then suspects the peers that are known to be that process at once instead of
 * after three intervals. A false report does a living peer no harm. On Linux the kernel reports the
 * end of up to 256 processes anyway.
 */
pares_result pares_peer_process_ended(pares_peer *peer, uint32_t pid);

/** Hands out the peer's counters. */
pares_result pares_peer_counters(const pares_peer *peer, const pares_counters **counters_out);

/** A subscription to a peer's events. If several threads take from one subscription, each event
 * reaches one of them. */
typedef struct pares_peer_events pares_peer_events;

/** The kinds of events, and the fields of pares_peer_event that each uses. Later versions add
 * kinds: skip unknown ones. */
typedef enum pares_peer_event_kind {
    /** The peer's status changed: `from`, `to`, `cause` (pares_role_cause), `text`; `token` if it
     * is primary. */
    PARES_PEER_EVENT_ROLE = 1,
    /**
     * A better peer, `id` and `label`, will replace this primary: finish the work at a point where
     * it can continue elsewhere, then call pares_peer_handover_ready(). After `within_ms` the peer
     * hands over anyway.
     */
    PARES_PEER_EVENT_PREPARE_HANDOVER = 2,
    /**
     * Another peer was primary meanwhile, and this one is again: what the program has read may have
     * changed. It now acts under a new `token`.
     */
    PARES_PEER_EVENT_EPOCH_BUMP = 3,
    /** A peer was admitted, or this one first hears of it: `id`, `label`, `service`. */
    PARES_PEER_EVENT_JOINED = 4,
    /** A peer is no longer in the group: `id`, `label`, `service`, `cause` (pares_peer_left_cause),
     * `text`. */
    PARES_PEER_EVENT_LEFT = 5,
    /**
     * A peer is probably dead: `id`, `label`, `service`, `cause` (pares_suspicion_cause), `text`.
     * PARES_PEER_EVENT_LEFT makes it certain; until then the peer may be heard again.
     */
    PARES_PEER_EVENT_SUSPECTED = 6,
    /** This program is to start another process of `service`, with `origin` as its origin. */
    PARES_PEER_EVENT_SPAWN = 7,
    /** This process was suspended for `for_ms`. */
    PARES_PEER_EVENT_PAUSED = 8,
    /** The subscription was full, and `missed` events before this one were dropped. */
    PARES_PEER_EVENT_MISSED = 9,
    /** The peer has left the group. This is the last event. */
    PARES_PEER_EVENT_STOPPED = 10,
    /**
     * The peer can send none of its heartbeats: an interface is down, no route exists, or a filter
     * refuses them. `cause` is the system's errno, `text` describes it. The peer is not
     * admitted, claims nothing, and gives up the role of primary when its lease ends. The event
     * comes once, and to each new subscriber while the state lasts.
     */
    PARES_PEER_EVENT_CANNOT_SEND = 11,
    /** The peer can send again, after `for_ms`. */
    PARES_PEER_EVENT_SENDS_AGAIN = 12
} pares_peer_event_kind;

/** Why a peer's status changed. Later versions add causes. */
typedef enum pares_role_cause {
    /** The peer started, and asks to be admitted. */
    PARES_ROLE_CAUSE_STARTED = 1,
    /** The peer has listened long enough. */
    PARES_ROLE_CAUSE_ADMITTED = 2,
    /** The service type had no primary. */
    PARES_ROLE_CAUSE_VACANT = 3,
    /** The primary is silent. */
    PARES_ROLE_CAUSE_FAILOVER = 4,
    /** The primary has a lower priority and may be relieved. */
    PARES_ROLE_CAUSE_PREEMPT = 5,
    /** No other peer objected. */
    PARES_ROLE_CAUSE_UNOPPOSED = 6,
    /** The last primary named this peer as its successor. */
    PARES_ROLE_CAUSE_NAMED = 7,
    /** A better peer is there. */
    PARES_ROLE_CAUSE_OUTRANKED = 8,
    /** The primary is alive. */
    PARES_ROLE_CAUSE_REFUTED = 9,
    /** The primary did not yield. */
    PARES_ROLE_CAUSE_UNYIELDING = 10,
    /** The peer may no longer be primary, because of its rank or for lack of a quorum. */
    PARES_ROLE_CAUSE_BARRED = 11,
    /** The peer handed over. */
    PARES_ROLE_CAUSE_HANDED_OVER = 12,
    /** The peer handed over, although its program did not report in time that its work is finished.
     */
    PARES_ROLE_CAUSE_OVERDUE = 13,
    /** Another peer is primary, and more peers follow it or its token is larger. */
    PARES_ROLE_CAUSE_SUPERSEDED = 14,
    /** No other peer seems to hear this one, and another peer is primary. */
    PARES_ROLE_CAUSE_UNHEARD = 15,
    /** The peer's process was suspended for too long. */
    PARES_ROLE_CAUSE_PAUSED = 16,
    /** Too few peers of the group are there. */
    PARES_ROLE_CAUSE_NO_QUORUM = 17,
    /** Another peer had the same identifier. */
    PARES_ROLE_CAUSE_COLLISION = 18,
    /** The group had too many peers of this service type. */
    PARES_ROLE_CAUSE_SURPLUS = 19,
    /** The peer leaves. */
    PARES_ROLE_CAUSE_LEFT = 20,
    /** The peer can send none of its heartbeats. */
    PARES_ROLE_CAUSE_CANNOT_SEND = 21
} pares_role_cause;

/** Why a peer is no longer in the group. */
typedef enum pares_peer_left_cause {
    /** It reported that it leaves. */
    PARES_PEER_LEFT = 1,
    /** It was silent for too long. */
    PARES_PEER_DIED = 2,
    /** The record of this peer had no room for it. */
    PARES_PEER_FORGOTTEN = 3
} pares_peer_left_cause;

/** Why a peer is probably dead. */
typedef enum pares_suspicion_cause {
    /** It was not heard for three intervals. */
    PARES_SUSPICION_SILENT = 1,
    /** The kernel or the program reports that its process ended. */
    PARES_SUSPICION_ENDED = 2
} pares_suspicion_cause;

/** One event. Fields that its kind does not use are 0 or NULL. */
typedef struct pares_peer_event {
    /** A pares_peer_event_kind. */
    int kind;
    /** A pares_role_cause, a pares_peer_left_cause, a pares_suspicion_cause, or an errno, as the
     * kind says. */
    int cause;
    /** The time, by CLOCK_MONOTONIC, at which the peer learned of it. */
    uint64_t monotonic_ns;
    /** A pares_peer_status: the previous one. */
    int from;
    /** A pares_peer_status: the present one. */
    int to;
    const pares_token *token;
    const pares_identifier *id;
    uint32_t service;
    uint32_t origin;
    uint64_t within_ms;
    uint64_t for_ms;
    uint64_t missed;
    const char *text;
    /** The label of the peer `id`; "" if it has none. Safe to print. */
    const char *label;
} pares_peer_event;

/**
 * Subscribes to the peer's events. The first one reports the present status and its last cause. If
 * the peer cannot send, the second one reports that.
 *
 * The library never waits for a subscriber: a subscription that holds as many events as
 * pares_peer_config_events() allows misses the next ones.
 *
 * @param events_out  receives a handle; free it with pares_peer_events_close()
 */
pares_result pares_peer_events_open(pares_peer *peer, pares_peer_events **events_out);

/**
 * Takes the next event and hands it out. Blocks until there is one, at most `timeout_ms`; with 0 it
 * does not block.
 *
 * @return PARES_OK; PARES_DEADLINE: no event has come yet; PARES_END: no more events will come
 */
pares_result pares_peer_events_next(pares_peer_events *events, uint64_t timeout_ms,
                                    const pares_peer_event **event_out);

/** Puts a descriptor for select(), poll() and similar calls into `descriptor_out`: see
 * pares_events_descriptor(). */
pares_result pares_peer_events_descriptor(pares_peer_events *events, int *descriptor_out);

/** Ends a subscription and frees the handle. A waiting pares_peer_events_next() returns PARES_END.
 */
pares_result pares_peer_events_close(pares_peer_events *events);

/** Returns the word for a pares_peer_event_kind, such as "prepare-handover". Never NULL. Do not
 * free it. */
const char *pares_peer_event_kind_name(int kind);

#ifdef __cplusplus
}
#endif

#endif
