/**
 * pares, the second system: masterless groups. Processes of one machine or of many agree by
 * heartbeats on which of them is primary. There is no supervisor and no registry.
 *
 * This header includes pares.h, whose conventions hold here too, and needs nothing else of it: a
 * process can be in groups of both kinds, which know nothing of each other. Both are in libpares.
 *
 *     cc program.c -lpares        or: cc program.c $(pkg-config --cflags --libs pares)
 *
 * Each process in a group is a peer: it broadcasts heartbeats, five in a second unless told
 * otherwise, keeps its own record of all others, and from that they agree on who is primary for
 * each service type.
 *
 * As long as heartbeats arrive in time (pares_peer_config_delay()) no two processes are primary of
 * one service type at once. No protocol of messages can promise that on a network that breaks
 * apart, or for a process that stands still and cannot know it yet. So a primary asks
 * pares_peer_lease_ok() right before each act, and gives the `fence` of its pares_peer_token() to
 * whoever stores what it does, who refuses smaller ones than it has seen.
 *
 * "All processes" of a group must have the same group, key, way for heartbeats, interval and delay.
 */
#ifndef PARES_PEER_H
#define PARES_PEER_H

#include "pares.h"

#ifdef __cplusplus
extern "C" {
#endif

/** What a peer is to be. */
typedef struct pares_peer_config pares_peer_config;

/**
 * Gives the present workload. It is called on the thread that sends the heartbeats, which do not go
 * on before it returns: it should give a number that is there already.
 */
typedef uint16_t (*pares_workload_function)(void *user);

/**
 * Makes a configuration with all defaults: service type 0, rank 128, heartbeats to this machine
 * only, 200 ms between two.
 *
 * @param group the group's name, 1 to 64 characters out of A-Z a-z 0-9 . _ - ; NULL: "default"
 * @param config_out receives a handle, to be freed with pares_peer_config_free()
 */
pares_result pares_peer_config_new(const char *group, pares_peer_config **config_out);

/** Sets the service type. Each type of a group has a primary of its own. Default: 0. */
pares_result pares_peer_config_service(pares_peer_config *config, uint16_t service);

/**
 * Sets the rank: of two processes the one with the smaller rank is to be primary, of equal ranks
 * the one that was admitted first. With 255 it never becomes primary, but is a witness of who is.
 * Default: 128.
 */
pares_result pares_peer_config_rank(pares_peer_config *config, uint8_t rank);

/**
 * Sets what people call this process: its heartbeats carry it, and the others show it. Any UTF-8
 * makes a label: at most 32 bytes of it count, cut at a character, and control characters become
 * '?'. Two processes may have the same one. "": no label. Default: the machine's name up to the
 * first dot and the program's, as "worker-1/scheduler".
 */
pares_result pares_peer_config_label(pares_peer_config *config, const char *label);

/**
 * Sets the number of the start by which this process came to be, as PARES_PEER_EVENT_SPAWN has it,
 * or the environment variable PARES_ORIGIN where a launcher has started it. Default: 0, started by
 * nobody of the group.
 */
pares_result pares_peer_config_origin(pares_peer_config *config, uint32_t origin);

/**
 * Heartbeats go to all processes of this machine, on this UDP port (not 0) of the loopback network.
 * The default, with a port made from the group and the user. Several groups may use one port.
 */
pares_result pares_peer_config_local(pares_peer_config *config, uint16_t port);

/**
 * Heartbeats go to a multicast group, and with it to every process on the local network that has
 * joined it. They do not pass routers. Choose pares_peer_config_lan() or pares_peer_config_lossy()
 * too.
 *
 * @param group its address and port, as "239.1.2.3:4000" or "[ff02::4d47]:4000" @param interface
 * the name of a network interface, or an address that it has; NULL: the system chooses
 */
pares_result pares_peer_config_multicast(pares_peer_config *config, const char *group,
                                         const char *interface);

/**
 * Heartbeats go to each of `peers`, for networks without multicast. `bind` is an address with a
 * port. So is a peer, as "10.0.0.7:4000" or "[fe80::7%2]:4000", or it is a name with a port, as
 * "worker-1:4000": then heartbeats go to all of its addresses that are of the family of `bind`.
 * Whoever of the group is heard from another address is sent to there, too, for as long as it is
 * heard.
 *
 * Names are looked up on threads of their own, so that no heartbeat waits for a name server: by
 * pares_peer_join(), which waits for up to a second, and goes on without those that take longer;
 * again when an address falls silent, and else at least every 30 s. What goes wrong is logged once,
 * and tried again for ever. A process is not let in before all names were looked up once; nor, if
 * there is nobody else to send to, while no name server answers: it cannot send
 * (PARES_PEER_EVENT_CANNOT_SEND). A name that does not exist keeps nobody out.
 *
 * @param bind the address that they are sent from, and received at; "0.0.0.0:4000" is every one of
 * this machine @param peers 1 to 256 of them; addresses are of the family of `bind`. This process's
 * own may be among them, so that all processes can have one list. @param peer_count how many they
 * are
 */
pares_result pares_peer_config_unicast(pares_peer_config *config, const char *bind,
                                       const char *const *peers, size_t peer_count);

/**
 * Sets times for a local network: 500 ms between two heartbeats, and half of that as delay. If no
 * heartbeat is lost or late, the others replace a dead primary within 2.1 s, on average within
 * 1.8 s.
 */
pares_result pares_peer_config_lan(pares_peer_config *config);

/**
 * Sets times for networks that lose much, and for machines that stand still now and then: 1 s
 * between two heartbeats, 1 s delay. If no heartbeat is lost or late, the others replace a dead
 * primary within 5.2 s, on average within 4.7 s.
 */
pares_result pares_peer_config_lossy(pares_peer_config *config);

/**
 * Sets the time between two heartbeats, 20 ms to 60 s; the same for all processes. Default: 200 ms.
 * The others suspect a process that they have not heard for three intervals, and take it for dead
 * after twice the delay more. With the defaults, if no heartbeat is lost or late, they replace a
 * dead primary within 0.85 s, on average within 0.7 s. An interval of less than a tenth of a delay
 * that was set gives PARES_INVALID: set the delay first.
 */
pares_result pares_peer_config_interval(pares_peer_config *config, uint64_t interval_ms);

/**
 * Sets how long a heartbeat may be under way, until the other process acts on it: at least 20 ms,
 * at most ten intervals; the same for all processes. Default: half of the interval. Never two
 * primaries at once holds as long as this holds; pares_peer_counters() tells what was seen.
 */
pares_result pares_peer_config_delay(pares_peer_config *config, uint64_t delay_ms);

/**
 * If `preempt` is not 0: a process that is better by its rank relieves a living primary, some
 * intervals after it was admitted, in an orderly handover. With 0 this process neither relieves
 * another nor is relieved. Default: 1.
 */
pares_result pares_peer_config_preempt(pares_peer_config *config, int preempt);

/**
 * Sets how many processes of the group must be there for one to be primary: more than half of them,
 * so that of a divided group only one part has a primary. Default: 0, no such rule: then each part
 * has one.
 */
pares_result pares_peer_config_quorum(pares_peer_config *config, size_t processes);

/** In groups larger than this, standbys far from being primary say less. Default: 0, never. */
pares_result pares_peer_config_slow_above(pares_peer_config *config, size_t processes);

/**
 * Sets how many others this process keeps in its record, at least 1; of more it keeps those that
 * matter to it. Default and most: 4096.
 */
pares_result pares_peer_config_max_members(pares_peer_config *config, size_t members);

/**
 * The group is to have at least `min` processes of a service type, and at most `max` (UINT16_MAX:
 * any number): if there are fewer, one process that can start others does so; if there are more for
 * long, the youngest standby leaves by itself. Once for each service type, at most 64 of them. All
 * processes should be told the same.
 */
pares_result pares_peer_config_need(pares_peer_config *config, uint16_t service, uint16_t min,
                                    uint16_t max);

/** If `can` is not 0: this process can start others; its program does so on PARES_PEER_EVENT_SPAWN.
 * Default: 0. */
pares_result pares_peer_config_can_start(pares_peer_config *config, int can);

/**
 * Says that this process can start others, and how: by this program with these arguments, any
 * bytes. It finds the group, the service type that it is to be of and its origin in PARES_GROUP,
 * PARES_SERVICE and PARES_ORIGIN, and in PARES_DIR and PARES_PORT what is set here of the two. It
 * lives on when this process ends.
 *
 * @param words       the program, and its arguments if there are any; needs no NULL at its end
 * @param word_count  how many they are, at least 1
 */
pares_result pares_peer_config_launcher(pares_peer_config *config, const char *const *words,
                                        size_t word_count);

/**
 * Sets the directory of the group's key and last epochs; made, for this user only, where it is
 * missing. Any bytes that are an absolute path. Default: as for pares_config_directory().
 */
pares_result pares_peer_config_directory(pares_peer_config *config, const char *directory);

/**
 * Sets the file with the group's key, the same key for all processes. Any path. Default and checks:
 * as for pares_config_key_file().
 */
pares_result pares_peer_config_key_file(pares_peer_config *config, const char *key_file);

/**
 * Sets the file with a second key, that this process accepts and does not use. So a key is changed
 * without a pause: start all processes anew, one by one, with the new key here; then with the new
 * one as the key and the old one here; then without the old one.
 */
pares_result pares_peer_config_also_key_file(pares_peer_config *config, const char *also_key_file);

/** Sets how many events a subscription holds before it misses some, at least 2. Default: 1024. */
pares_result pares_peer_config_events(pares_peer_config *config, size_t capacity);

/**
 * If `prepares` is not 0: before it hands over, this program brings its work to an end, on
 * PARES_PEER_EVENT_PREPARE_HANDOVER, and then calls pares_peer_handover_ready(). Default: 0, it
 * hands over at once.
 */
pares_result pares_peer_config_prepare_handover(pares_peer_config *config, int prepares);

/** Sets how much this process has to do, by any measure that all of the group share. Default: 0. */
pares_result pares_peer_config_workload(pares_peer_config *config, uint16_t workload);

/**
 * Has `workload` asked for the workload, once in each interval. The last one that was given here
 * counts.
 *
 * @param workload not NULL @param user handed to `workload` @param free_user called when this
 * configuration is freed, or given another one, and all peers joined with it have left
 */
pares_result pares_peer_config_workload_from(pares_peer_config *config,
                                             pares_workload_function workload, void *user,
                                             pares_free_user free_user);

/**
 * If `observe` is not 0: has this process only look on. It asks who is there, listens, and is never
 * admitted; its status is always PARES_PEER_JOINING. Default: 0.
 */
pares_result pares_peer_config_observe(pares_peer_config *config, int observe);

/** Frees a configuration. Peers that were joined with it keep what they need. */
pares_result pares_peer_config_free(pares_peer_config *config);

/** One process of a masterless group. Several may live in one process of the system. */
typedef struct pares_peer pares_peer;

/** What a peer is. (Without a typedef: the function that tells it has the name.) */
enum pares_peer_status {
    /** It listens, and is not admitted yet. */
    PARES_PEER_JOINING = 1,
    /** It is ready to become primary, if it is to be. */
    PARES_PEER_STANDBY = 2,
    /** It is about to become primary, unless somebody objects. */
    PARES_PEER_TO_BECOME_PRIMARY = 3,
    /** It does what only one does. */
    PARES_PEER_PRIMARY = 4,
    /** It leaves, or has left. */
    PARES_PEER_LEAVING = 5
};

/** Who one process of a masterless group is. */
typedef struct pares_identifier {
    /**
     * The whole as a text of fixed length, rank, sequence and tail: of two identifiers the one
     * whose text is smaller, by strcmp(), has the higher priority.
     */
    const char *text;
    /** The random part, by which a process is known whatever its priority becomes: 22 hexadecimal
     * digits. */
    const char *tail;
    /** 0 to 255; who is smaller has the higher priority. */
    uint32_t rank;
    /** The how-manieth to be admitted it was; UINT32_MAX before that. */
    uint32_t sequence;
} pares_identifier;

/** A number for each time that a process becomes primary. */
typedef struct pares_token {
    /** Grows with each acquisition. */
    uint64_t epoch;
    /** Who became primary. */
    const pares_identifier *id;
    /** The whole as 48 hexadecimal digits: of two tokens the one whose fence is larger, by
     * strcmp(), is the larger one. */
    const char *fence;
} pares_token;

/** What one process knows of another one, or of itself. */
typedef struct pares_peer_info {
    const pares_identifier *id;
    /** A pares_peer_status: what it says to be. */
    int status;
    /** Its service type. */
    uint32_t service;
    /** How much it has to do. */
    uint32_t workload;
    /** Its own epoch if it is primary, else the largest that it knows. */
    uint64_t epoch;
    /** How long ago it was last heard; by another process, if not directly. */
    uint64_t age_ms;
    /** 1 if it has been silent for three intervals, or the kernel says that it has ended; else 0.
     */
    int suspected;
    /** 1 if it is heard by this process itself; 0 if others follow it as primary. */
    int direct;
    /** 1 if it is this process, else 0. */
    int own;
    /** What people call it; "" if it has no label, or if only others hear it. Safe to print. */
    const char *label;
} pares_peer_info;

/** The record of one process at one moment. */
typedef struct pares_peer_listing {
    size_t count;
    /** In the order of their identifiers. */
    const pares_peer_info *const *peers;
} pares_peer_listing;

/** How often what has happened to a peer, since it began to join. */
typedef struct pares_counters {
    /** Heartbeats sent. */
    uint64_t sent;
    /** Times that one could not be sent to one address. */
    uint64_t not_sent;
    /** Times that the socket gave an error instead of a datagram. */
    uint64_t not_received;
    /** Heartbeats of others taken in. */
    uint64_t heard;
    /** Heartbeats that were played again, or of a second process with the same identifier; dropped.
     */
    uint64_t replayed;
    /** Datagrams that are no heartbeat; dropped, as all that follow. */
    uint64_t malformed;
    /** Datagrams of another version of the protocol. */
    uint64_t other_version;
    /** Datagrams of another group, which may share the port. */
    uint64_t other_group;
    /** Datagrams made with a key that this process does not have. */
    uint64_t unknown_key;
    /** Datagrams that were forged, or damaged on the way. */
    uint64_t not_authentic;
    /** Claims to become primary that turned out to be mistaken: the primary lived. */
    uint64_t false_claims;
    /** Times that this process as primary met another one. */
    uint64_t conflicts;
    /** Times that this process stayed primary under a new token. */
    uint64_t epoch_bumps;
    /** Times that there was no room for a process in the record. */
    uint64_t record_full;
    /** Times that this process stood still for longer than two intervals. */
    uint64_t pauses;
    /**
     * Longest time between two heartbeats of one process. More than an interval and the delay,
     * where none is lost, says that the delay is set too small.
     */
    uint64_t longest_gap_ms;
} pares_counters;

/**
 * Begins to join the group: opens the socket, asks all others for a heartbeat, and starts a thread.
 * `config` is only read, and may serve again. That others are not heard is no error: the process is
 * then alone.
 *
 * Blocks for some system calls only, not until it is admitted: that takes three intervals, usually;
 * see pares_peer_wait_admitted().
 *
 * @param peer_out receives a handle, to be freed with pares_peer_leave() or
 * pares_peer_leave_at_once()
 *
 * @return PARES_OK, or, with nothing left behind: PARES_KEY, PARES_PORT_HELD, PARES_PORT_FORBIDDEN,
 * PARES_NOT_HERE, PARES_IO
 */
pares_result pares_peer_join(const pares_peer_config *config, pares_peer **peer_out);

/**
 * Leaves the group in order, then frees the handle: a primary lets another process take over first.
 * Where pares_peer_config_prepare_handover() says that the program has work to bring to an end,
 * another thread answers PARES_PEER_EVENT_PREPARE_HANDOVER meanwhile; all calls for the peer but
 * this one may go on until it returns. The peer's subscriptions end once their events were taken.
 *
 * Blocks until it has left: without a handover a quarter of an interval, with one usually about an
 * interval, at most six and a half. PARES_IN_CALLBACK in the peer's own callback and in any
 * `free_user`: nothing was done.
 */
pares_result pares_peer_leave(pares_peer *peer);

/**
 * Leaves the group without a handover, and frees the handle. The others hear of it, and have a new
 * primary after twice the delay. Blocks for some system calls, and until the peer's callback has
 * returned. PARES_IN_CALLBACK as pares_peer_leave().
 */
pares_result pares_peer_leave_at_once(pares_peer *peer);

/**
 * Waits until the peer is admitted to its group.
 *
 * Blocks for three intervals from its joining, usually, at most `timeout_ms`.
 *
 * @return PARES_OK; PARES_DEADLINE; PARES_STOPPED: it has left; PARES_IN_CALLBACK in the peer's own
 * callback
 */
pares_result pares_peer_wait_admitted(pares_peer *peer, uint64_t timeout_ms);

/*
 * A peer can leave by itself, where there are more of its service type than there need to be. Then,
 * until its handle is freed, its status is PARES_PEER_LEAVING, it is not primary, and what it is
 * told does nothing.
 */

/** Hands out the name of the peer's group. */
pares_result pares_peer_group(const pares_peer *peer, const char **group_out);

/**
 * Hands out the peer's identifier. It changes: its sequence when it is admitted and when it loses
 * the role of primary against its will, its rank when somebody sets that, and all of it if another
 * process turns out to have the same one.
 */
pares_result pares_peer_id(const pares_peer *peer, const pares_identifier **id_out);

/** Hands out what people call the peer, as pares_peer_config_label() says. */
pares_result pares_peer_label(const pares_peer *peer, const char **label_out);

/** Puts a pares_peer_status into `status_out`. */
pares_result pares_peer_status(const pares_peer *peer, int *status_out);

/** The word for a pares_peer_status, as "to-become-primary". Never NULL. Not to be freed. */
const char *pares_peer_status_name(int status);

/**
 * Hands out what fences the work of the primary.
 *
 * @return PARES_OK; PARES_NOT_PRIMARY
 */
pares_result pares_peer_token(const pares_peer *peer, const pares_token **token_out);

/**
 * 1 if the peer is primary and, as far as heartbeats can tell, no other process can be; else 0,
 * also for a bad handle. To be asked right before each act that only the primary may do: it is 0
 * also after this process has stood still for so long that others must take it for dead, before
 * anything else here has noticed that.
 */
int pares_peer_lease_ok(const pares_peer *peer);

/** Hands out the record: all processes of the group that the peer knows, itself included. */
pares_result pares_peer_list(const pares_peer *peer, const pares_peer_listing **listing_out);

/**
 * Hands out the process of a service type that has least to do, of those that are admitted, heard
 * by this process itself, and not suspected; of several the one with the smallest identifier.
 * Perhaps itself.
 *
 * @return PARES_OK; PARES_NO_SUCH_PEER: there is none
 */
pares_result pares_peer_least_loaded(const pares_peer *peer, uint16_t service,
                                     const pares_peer_info **info_out);

/**
 * Tells the process with this tail, another one or this one, which rank it is to have: so anyone
 * can promote or demote anyone. It is said for five intervals; that it was followed shows in the
 * record.
 */
pares_result pares_peer_direct(pares_peer *peer, const char *tail, uint8_t rank);

/** Gives this process another rank. */
pares_result pares_peer_set_rank(pares_peer *peer, uint8_t rank);

/** Says how much this process has to do; the next heartbeat tells it. */
pares_result pares_peer_set_workload(pares_peer *peer, uint16_t workload);

/** A job that runs whenever its peer is primary. */
typedef struct pares_peer_job pares_peer_job;

/** What a running job asks whether it may act and go on; lives as long as the call of the job's
 * function. */
typedef struct pares_peer_guard pares_peer_guard;

/**
 * The work of the primary. It must return soon after the guard says so. Before the role goes to a
 * better process, the group waits for it: two intervals for a handover, six when the peer leaves.
 * A job that takes longer loses the role while it runs. If it returns by itself, its work for this
 * time of being primary is done.
 */
typedef void (*pares_peer_job_function)(const pares_peer_guard *guard, void *user);

/**
 * Runs `job` on a thread of its own once each time that this peer becomes primary, until the job's
 * handle is freed or the peer leaves; then `free_user` is called.
 *
 * @param job_out  receives a handle, to be freed with pares_peer_job_end()
 *
 * @return PARES_OK; PARES_IO: no thread can be started
 */
pares_result pares_peer_while_primary(pares_peer *peer, pares_peer_job_function job, void *user,
                                      pares_free_user free_user, pares_peer_job **job_out);

/**
 * Tells a job to end, and frees the handle. Blocks until it has returned, except in the job itself,
 * where it is allowed and only says that the job shall not be run again.
 */
pares_result pares_peer_job_end(pares_peer_job *job);

/** Hands out the token under which the job began; it fences what the job writes elsewhere. */
pares_result pares_peer_guard_token(const pares_peer_guard *guard, const pares_token **token_out);

/**
 * 1 if, as far as heartbeats can tell, no other process can be primary now; else 0, also for a bad
 * handle. Ask right before each act. It stays 1 while the job is told to end for a handover.
 */
int pares_peer_guard_lease_ok(const pares_peer_guard *guard);

/** 1 once the job must end, also for a bad handle, else 0. */
int pares_peer_guard_should_stop(const pares_peer_guard *guard);

/** Waits up to `timeout_ms` for the moment at which the job must end; 1 if it has come, also for a
 * bad handle, else 0. */
int pares_peer_guard_wait(const pares_peer_guard *guard, uint64_t timeout_ms);

/**
 * The program has brought its work as primary to an end, and hands over: the answer to
 * PARES_PEER_EVENT_PREPARE_HANDOVER, where pares_peer_config_prepare_handover() says that there is
 * one.
 */
pares_result pares_peer_handover_ready(pares_peer *peer);

/**
 * The program knows that a process of this machine has ended, from its parent for example. Peers
 * that are known to be that process are suspected at once, instead of three intervals later. One
 * that lives all the same takes no harm. On Linux the kernel tells this of up to 256 processes
 * anyway.
 */
pares_result pares_peer_process_ended(pares_peer *peer, uint32_t pid);

/** Hands out how often what has happened. */
pares_result pares_peer_counters(const pares_peer *peer, const pares_counters **counters_out);

/** A subscription to a peer's events. Of those who take from one subscription together, each event
 * reaches one. */
typedef struct pares_peer_events pares_peer_events;

/** What happened; which fields of pares_peer_event it uses. New kinds come with time: skip what you
 * do not know. */
typedef enum pares_peer_event_kind {
    /** Its status has changed: `from`, `to`, `cause`, a pares_role_cause, and `text` for it;
     * `token` if it is primary. */
    PARES_PEER_EVENT_ROLE = 1,
    /**
     * A better process, `id` and `label`, is to be primary instead of this one: bring the work to
     * an end where it can go on, then call pares_peer_handover_ready(). After `within_ms` it hands
     * over all the same.
     */
    PARES_PEER_EVENT_PREPARE_HANDOVER = 2,
    /**
     * Another process was primary meanwhile, and this one is: what it has read may have changed. It
     * acts under a new `token`.
     */
    PARES_PEER_EVENT_EPOCH_BUMP = 3,
    /** A process has been admitted, or this one hears of it for the first time: `id`, `label`,
     * `service`. */
    PARES_PEER_EVENT_JOINED = 4,
    /** A process is no longer in the group: `id`, `label`, `service`, `cause`, a
     * pares_peer_left_cause, and `text` for it. */
    PARES_PEER_EVENT_LEFT = 5,
    /**
     * A process is probably dead: `id`, `label`, `service`, `cause`, a pares_suspicion_cause, and
     * `text` for it. That is certain only when it has left; until then it may speak again.
     */
    PARES_PEER_EVENT_SUSPECTED = 6,
    /** This process is the one to start another: of `service`, which is to be given `origin` as its
     * origin. */
    PARES_PEER_EVENT_SPAWN = 7,
    /** This process stood still: `for_ms`. */
    PARES_PEER_EVENT_PAUSED = 8,
    /** So many events before this one are missing, because they were not taken in time: `missed`.
     */
    PARES_PEER_EVENT_MISSED = 9,
    /** It has left the group. The last event. */
    PARES_PEER_EVENT_STOPPED = 10,
    /**
     * Nothing of what this process says gets out: an interface is down, there is no route, a filter
     * refuses. `cause` is the system's errno, `text` the words for it. It is not admitted, claims
     * nothing, and gives the role of primary up when its lease is over. Said once, and to a new
     * subscriber while it is so.
     */
    PARES_PEER_EVENT_CANNOT_SEND = 11,
    /** What this process says gets out again, after `for_ms`. */
    PARES_PEER_EVENT_SENDS_AGAIN = 12
} pares_peer_event_kind;

/** Why a peer's status has changed. New causes come with time. */
typedef enum pares_role_cause {
    /** It has been started, and asks to be let in. */
    PARES_ROLE_STARTED = 1,
    /** It has listened for long enough. */
    PARES_ROLE_ADMITTED = 2,
    /** There was no primary. */
    PARES_ROLE_VACANT = 3,
    /** The primary is silent. */
    PARES_ROLE_FAILOVER = 4,
    /** The primary is worse, and may be relieved. */
    PARES_ROLE_PREEMPT = 5,
    /** Nobody has objected. */
    PARES_ROLE_UNOPPOSED = 6,
    /** The last primary has named it. */
    PARES_ROLE_NAMED = 7,
    /** A better one is there. */
    PARES_ROLE_OUTRANKED = 8,
    /** The primary is alive. */
    PARES_ROLE_REFUTED = 9,
    /** The primary did not yield. */
    PARES_ROLE_UNYIELDING = 10,
    /** It may not be primary any more: by its rank, or because too few of the group are there. */
    PARES_ROLE_BARRED = 11,
    /** It has handed over. */
    PARES_ROLE_HANDED_OVER = 12,
    /** It has handed over, although its program has not said in time that its work has come to an
     * end. */
    PARES_ROLE_OVERDUE = 13,
    /** Another one is primary, and more processes follow that one, or its token is larger. */
    PARES_ROLE_SUPERSEDED = 14,
    /** Nobody seems to hear it, and another one is primary. */
    PARES_ROLE_UNHEARD = 15,
    /** It stood still for too long. */
    PARES_ROLE_PAUSED = 16,
    /** Too few of the group are there. */
    PARES_ROLE_NO_QUORUM = 17,
    /** Another process had the same identifier. */
    PARES_ROLE_COLLISION = 18,
    /** There were more of its service type than there need to be. */
    PARES_ROLE_SURPLUS = 19,
    /** It leaves. */
    PARES_ROLE_LEFT = 20,
    /** Nothing of what it says gets out. */
    PARES_ROLE_CANNOT_SEND = 21
} pares_role_cause;

/** Why a process is no longer in a masterless group. */
typedef enum pares_peer_left_cause {
    /** It has said so. */
    PARES_PEER_LEFT = 1,
    /** It was silent for too long. */
    PARES_PEER_DIED = 2,
    /** There was no room for it in the record of this process. */
    PARES_PEER_FORGOTTEN = 3
} pares_peer_left_cause;

/** Why a process of a masterless group is probably dead. */
typedef enum pares_suspicion_cause {
    /** It was not heard for three intervals. */
    PARES_SUSPICION_SILENT = 1,
    /** The kernel says that it has ended, or the program does. */
    PARES_SUSPICION_ENDED = 2
} pares_suspicion_cause;

/** One event. Fields that its kind does not use are 0 or NULL. */
typedef struct pares_peer_event {
    /** A pares_peer_event_kind. */
    int kind;
    /** A pares_role_cause, a pares_peer_left_cause or a pares_suspicion_cause; or an errno, where
     * the kind says so. */
    int cause;
    /** CLOCK_MONOTONIC when the peer knew it. */
    uint64_t monotonic_ns;
    /** A pares_peer_status: what it was. */
    int from;
    /** A pares_peer_status: what it is. */
    int to;
    const pares_token *token;
    const pares_identifier *id;
    uint32_t service;
    uint32_t origin;
    uint64_t within_ms;
    uint64_t for_ms;
    uint64_t missed;
    const char *text;
    /** What people call the process `id`; "" if it has no label. Safe to print. */
    const char *label;
} pares_peer_event;

/**
 * Subscribes to the peer's events. The first one tells the present status, and its last cause;
 * while nothing can be sent, the second one says that.
 *
 * The library never waits for a subscriber: one that holds as many events as
 * pares_peer_config_events() says misses the next.
 *
 * @param events_out  receives a handle, to be freed with pares_peer_events_close()
 */
pares_result pares_peer_events_open(pares_peer *peer, pares_peer_events **events_out);

/**
 * Takes the next event and hands it out.
 *
 * Blocks until there is one, at most `timeout_ms`; with 0 not at all.
 *
 * @return PARES_OK; PARES_DEADLINE: there is none yet; PARES_END: there will be none any more
 */
pares_result pares_peer_events_next(pares_peer_events *events, uint64_t timeout_ms,
                                    const pares_peer_event **event_out);

/** Puts a descriptor for select(), poll() and their like into `descriptor_out`, as
 * pares_events_descriptor(). */
pares_result pares_peer_events_descriptor(pares_peer_events *events, int *descriptor_out);

/** Ends a subscription, and frees the handle. Who waits in pares_peer_events_next() gets PARES_END.
 */
pares_result pares_peer_events_close(pares_peer_events *events);

/** The word for a pares_peer_event_kind, as "prepare-handover". Never NULL. Not to be freed. */
const char *pares_peer_event_kind_name(int kind);

#ifdef __cplusplus
}
#endif

#endif
