/**
 * pares: supervisor groups. The instances of one program on one machine elect a supervisor, keep a
 * registry, share limited resources, settings and messages, and learn of every death at once.
 * Masterless groups, which need no supervisor and can span machines, are in pares_peer.h.
 *
 * This header is the contract. Tests compare it with the code. It compiles as C99 and as C++11.
 *
 *     cc program.c -lpares        or: cc program.c $(pkg-config --cflags --libs pares)
 *
 * Conventions
 *
 *   Results. A function that can fail returns a pares_result: PARES_OK (0) or the reason. After a
 *   failure pares_last_error() returns a text for people. A number never changes its meaning, but
 *   later versions add new numbers: treat an unknown one as a failure. Each function lists the
 *   results that mean something particular there. Any function can also return
 *   PARES_NULL_ARGUMENT, PARES_NOT_UTF8, PARES_INVALID, PARES_BAD_HANDLE, PARES_FORKED and
 *   PARES_PANIC. Unless the function says otherwise, a failed call changed nothing and set every
 *   `…_out` to NULL or 0.
 *
 *   Questions. A function that asks the supervisor can also return PARES_NO_SUPERVISOR,
 *   PARES_SUPERVISOR_LOST, PARES_DEADLINE, PARES_BUSY, PARES_STOPPED, PARES_IO, and the results of
 *   pares_join(). The list of such a function says "the results of a question". During an election
 *   the function waits for the new supervisor. If the function changes something,
 *   PARES_SUPERVISOR_LOST and PARES_DEADLINE leave open whether the change was made.
 *
 *   Strings are NUL-terminated UTF-8. The library reads the caller's strings only during the call.
 *   A pointer may be NULL only where its function says so. Bytes are a pointer and a count; if the
 *   count is 0, the pointer may be NULL.
 *
 *   Memory. The caller only reads what a function hands out through a parameter (strings, bytes,
 *   structs), and frees all of it with one pares_free() of the outermost pointer. A `const char *`
 *   that a function returns directly belongs to the library: do not free it. Later versions append
 *   fields to structs: do not copy them, and do not make arrays of them.
 *
 *   Handles belong to the caller, who frees each one once, with the function that its maker names.
 *   A handle that was freed, has another type, or never existed returns PARES_BAD_HANDLE. Freeing
 *   NULL does nothing. One thread may free a handle while another is in a call with it; that call
 *   then ends as it would have, or as its function says. Permits, tallies, jobs and subscriptions
 *   may be freed before or after their instance or peer leaves.
 *
 *   Threads. Any thread may call any function, and several may use one handle at once. A blocking
 *   call delays no other. The library starts threads of its own, which take none of the program's
 *   signals: signalfd, sigwait and ppoll work as if these threads did not exist. The library never
 *   raises SIGPIPE.
 *
 *   Times are in milliseconds. PARES_FOR_EVER means no limit, and no number is too large. A
 *   function that does not mention blocking does not block.
 *
 *   Callbacks run on the library's threads, several at once. They, and the threads and processes
 *   that they start, have the signal mask of the thread that called pares_join(),
 *   pares_while_supervisor() or pares_peer_join(): a program that uses sigwait or signalfd blocks
 *   its signals before that call. A callback may call any function here; one that would wait for
 *   the callback itself returns PARES_IN_CALLBACK. A callback must return: no longjmp, no C++
 *   exception. `user` is the caller's own pointer. The library calls `free_user` (may be NULL) with
 *   it exactly once, on any thread, when no callback needs it any more, also if the function that
 *   received it fails.
 *
 *   fork(). A child process has none of its parent's instances and peers. There their handles
 *   return PARES_FORKED (a yes-or-no function answers as for a bad handle) and need not be freed,
 *   nor need memory. The child may join by itself at once; the parent is not affected. A child that
 *   was forked in a callback ends when the callback returns.
 *
 *   Closing descriptors. A program that closes all descriptors, as some daemons do at their start,
 *   closes those of the library, too. Its instances and peers have then left (PARES_ROLE_STOPPED,
 *   PARES_STOPPED) and must still be freed; the program may join again. The library does not touch
 *   descriptors that the program opens afterwards. A call that runs at the moment of closing can
 *   use a descriptor whose number the program has already reused, so make no calls meanwhile.
 *
 *   Do not unload the library (dlclose()) after its first use.
 */
#ifndef PARES_H
#define PARES_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* -------------------------------------------------------------------------------------------------
 * library */

/** The version of this interface. It grows with each addition; an incompatible change gets another
 * soname. */
#define PARES_ABI_VERSION 1

/** A time without limit. */
#define PARES_FOR_EVER UINT64_MAX

typedef enum pares_result {
    PARES_OK = 0,
    /** A pointer that must not be NULL is NULL. */
    PARES_NULL_ARGUMENT = 1,
    /** A string is not UTF-8. */
    PARES_NOT_UTF8 = 2,
    /** A name, a number or a size is not allowed. */
    PARES_INVALID = 3,
    /** The handle was freed, never existed, or has another type. */
    PARES_BAD_HANDLE = 4,
    /** The handle belongs to a process from which this one was forked. */
    PARES_FORKED = 5,
    /** The library panicked, which is a defect. The effect of the call is unknown. */
    PARES_PANIC = 6,
    /** The operating system returned an error. */
    PARES_IO = 7,
    /** The time limit passed. */
    PARES_DEADLINE = 8,
    /** The instance or peer has left its group. */
    PARES_STOPPED = 9,
    /** The key file cannot be used. */
    PARES_KEY = 10,
    /** Another program, or one without the group's key, holds the supervisor port; or another
     * program holds a peer's UDP port. */
    PARES_PORT_HELD = 11,
    /** The supervisor port serves another group. */
    PARES_OTHER_GROUP = 12,
    /** The supervisor has no protocol version in common with this library. */
    PARES_VERSION = 13,
    /** This user may not bind the supervisor port or the peer's UDP port. */
    PARES_PORT_FORBIDDEN = 14,
    /** A living instance has this name. */
    PARES_NAME_TAKEN = 15,
    /** The group has as many instances as its supervisor admits. */
    PARES_GROUP_FULL = 16,
    /** The group has no supervisor at the moment. */
    PARES_NO_SUPERVISOR = 17,
    /** The supervisor died or left before it answered. */
    PARES_SUPERVISOR_LOST = 18,
    /** The supervisor, or the called instance, serves as many callers as it can. */
    PARES_BUSY = 19,
    /** No instance has this name. */
    PARES_NO_SUCH_INSTANCE = 20,
    /** The instance has no function of this name. */
    PARES_NO_SUCH_FUNCTION = 21,
    /** The function failed; pares_last_error() returns its own text. */
    PARES_FUNCTION_FAILED = 22,
    /** The called instance ended; the function may have run. */
    PARES_INSTANCE_LOST = 23,
    /** Too few units are free, or other requests have waited longer. */
    PARES_EXHAUSTED = 24,
    /** The request exceeds the limit of the resource, or the limit per holder. */
    PARES_OVER_LIMIT = 25,
    /** No instance has declared the resource. */
    PARES_UNKNOWN_RESOURCE = 26,
    /** The number of permits, tallies, settings or bytes exceeds its maximum. */
    PARES_TOO_MANY = 27,
    /** The setting has another value than the expected one. */
    PARES_SETTING_CHANGED = 28,
    /** The receiver reads its messages too slowly, and misses this one. */
    PARES_RECEIVER_BEHIND = 29,
    /** The instance is not supervisor. */
    PARES_NOT_SUPERVISOR = 30,
    /** No other instance could take over. */
    PARES_ALONE = 31,
    /** A job of the supervisor did not return in time. */
    PARES_JOB_RUNNING = 32,
    /** The setting is not set. */
    PARES_NO_SUCH_SETTING = 33,
    /** The subscription was closed, or its instance or peer has left: no more events will come. */
    PARES_END = 34,
    /** The function would wait for the callback that calls it. */
    PARES_IN_CALLBACK = 35,
    /** This machine lacks the network address or interface, or the group's loopback address. */
    PARES_NOT_HERE = 36,
    /** The peer is not primary. */
    PARES_NOT_PRIMARY = 37,
    /** The record has no such peer. */
    PARES_NO_SUCH_PEER = 38
} pares_result;

/** Returns the PARES_ABI_VERSION of the loaded library. If it is smaller than the header's, the
 * library lacks functions. */
uint32_t pares_abi_version(void);

/** Returns the version of the library, such as "1.2.3". Do not free it. */
const char *pares_version(void);

/** Returns the name of a result, such as "PARES_OK". Never NULL. Do not free it. */
const char *pares_result_name(int result);

/**
 * Returns the text of this thread's last failure, in English, for people; "" before the first.
 * Never NULL. Do not free it: it lives until the next failure in this thread or the thread's end.
 */
const char *pares_last_error(void);

/**
 * Frees everything that a function has handed out with `memory`, the pointer in its `…_out`.
 *
 * @return PARES_OK, also for NULL; PARES_BAD_HANDLE if the library did not hand `memory` out or it
 * was freed already: then nothing is freed. (The library recognises a second free only until it
 * hands out the same address again.)
 */
pares_result pares_free(const void *memory);

/* -------------------------------------------------------------------------------------------------
 * configuration */

/** The configuration of an instance. */
typedef struct pares_config pares_config;

/** The answer of an admin function; lives until the function returns. */
typedef struct pares_reply pares_reply;

/** Frees a callback's own data. */
typedef void (*pares_free_user)(void *user);

/**
 * An admin function, which other instances and operators may call. It reads the caller's `payload`,
 * which lives until the function returns and is never NULL, and answers with pares_reply_set() or
 * pares_reply_fail(). The last answer counts. Without one, the result has no bytes.
 *
 * The function may take as long as it needs: it runs on a thread of its caller's connection, and
 * the caller sets a deadline.
 */
typedef void (*pares_function)(pares_reply *reply, const void *payload, size_t payload_bytes,
                               void *user);

/**
 * Makes a configuration with all defaults.
 *
 * @param group       name of the group, 1 to 64 characters of A-Z a-z 0-9 . _ - ; NULL: "default"
 * @param config_out  receives a handle; free it with pares_config_free()
 */
pares_result pares_config_new(const char *group, pares_config **config_out);

/**
 * Sets the supervisor port, on 127.0.0.1. It must be the same for the whole group. Default: for the
 * group `default` 30099 on 127.0.0.1; for others a port from 20000 to 29999 and, on Linux, an
 * address of 127.0.0.0/8, both derived from the group and the user.
 */
pares_result pares_config_port(pares_config *config, uint16_t port);

/**
 * Sets the instance's unique name: 1 to 128 bytes without white space or control characters, not
 * "main", not beginning with @ or -. Default: the program's name, a dash, and a number that no
 * other living instance has.
 */
pares_result pares_config_name(pares_config *config, const char *name);

/**
 * Sets the directory of the group's key and last term, an absolute path of any bytes. The library
 * makes a missing directory, for this user only. Default: $PARES_DIR; else pares in the first of
 * $STATE_DIRECTORY or in $XDG_STATE_HOME; else .local/state/pares in $HOME or in the home directory
 * of the user database. `pares doctor` prints which one it is, and why.
 */
pares_result pares_config_directory(pares_config *config, const char *directory);

/**
 * Sets the file with the group's key, any path: a regular file of 32 bytes that belongs to this
 * user or root and that nobody else can write. It may be a symbolic link, and a file of root's that
 * others can read, as an orchestrator mounts it. The library does not make a missing one:
 * PARES_KEY. Default: GROUP.key in the directory, which the library makes, for this user only.
 */
pares_result pares_config_key_file(pares_config *config, const char *key_file);

/** Adds a key and a value to the instance's registry entry: at most 32 pairs, 4096 bytes. */
pares_result pares_config_meta(pares_config *config, const char *key, const char *value);

/** Sets how long pares_join() may take. Default: 10000 ms. */
pares_result pares_config_join_timeout(pares_config *config, uint64_t timeout_ms);

/**
 * Sets whether the instance may become supervisor. With 0 it never does, but takes part in
 * everything else. In a group of only such instances nobody supervises: a join fails with
 * PARES_NO_SUPERVISOR after the join timeout, and instances that had a role are
 * PARES_ROLE_CONTENDING, keep what they hold and receive nothing new, until an instance joins that
 * may supervise. Default: 1.
 */
pares_result pares_config_may_supervise(pares_config *config, int may);

/** Sets how long a new supervisor waits for the next survivor of the last one, or 0.3 ms for each
 * instance if that is more. Default: 500 ms. */
pares_result pares_config_settle_time(pares_config *config, uint64_t time_ms);

/** Sets how many instances it admits as supervisor, itself included. Default and maximum: 16384. */
pares_result pares_config_max_members(pares_config *config, size_t members);

/** Sets how many events a subscription holds before it misses some, at least 2. Default: 1024. */
pares_result pares_config_events(pares_config *config, size_t capacity);

/**
 * Sets whether this process gives up the supervisor port and its connections the moment it crashes.
 * If not, others take over only after its core dump is written. The library installs handlers for
 * SIGSEGV, SIGABRT and similar signals, which pass the signal on to the handler that was installed
 * before. They serve the whole process, from the first join that asks for them. Default: 0.
 */
pares_result pares_config_release_on_crash(pares_config *config, int release);

/**
 * Turns on hang detection: the instance reports, by PARES_EVENT_STALLED, an instance at the other
 * end of one of its connections that has not answered properly for `timeout_ms` (100 ms to a day).
 * Hang detection needs wake-ups. Default: off.
 */
pares_result pares_config_hang_timeout(pares_config *config, uint64_t timeout_ms);

/**
 * Sets whether the instance kills (SIGKILL) the process of a supervisor that hangs, to let another
 * instance takes over. It never kills one that only waits for a processor. Set a hang timeout
 * first. Default: 0.
 */
pares_result pares_config_end_hung_supervisor(pares_config *config, int end);

/**
 * Declares a resource of which all instances together may use at most `limit` units (0 to 2^38).
 * All instances should declare the same limit. A name has 1 to 64 bytes, contains no white space or
 * control characters, and does not begin with a dash.
 */
pares_result pares_config_resource(pares_config *config, const char *resource, uint64_t limit);

/** Declares a resource of which, in addition, each instance may hold at most `per_holder` units. */
pares_result pares_config_resource_per_holder(pares_config *config, const char *resource,
                                              uint64_t limit, uint64_t per_holder);

/**
 * Adds an admin function; at most 56. A function with the name of a built-in one (ping, info,
 * functions, log-level, stop, step-down) replaces it.
 *
 * @param name       1 to 64 bytes without white space or control characters, not beginning with a
 *                   dash
 * @param help       what the function does, for operators; may be NULL
 * @param function   not NULL
 * @param user       passed to `function`
 * @param free_user  called once this configuration is freed and all instances joined with it have
 *                   left
 */
pares_result pares_config_function(pares_config *config, const char *name, const char *help,
                                   pares_function function, void *user, pares_free_user free_user);

/** Frees a configuration. Instances that were joined with it keep what they need. */
pares_result pares_config_free(pares_config *config);

/** Answers a call of an admin function with a copy of these bytes, up to 1 MiB. */
pares_result pares_reply_set(pares_reply *reply, const void *result, size_t result_bytes);

/** Answers a call of an admin function with an error. The caller's pares_last_error() returns
 * `text`. */
pares_result pares_reply_fail(pares_reply *reply, const char *text);

/* -------------------------------------------------------------------------------------------------
 * instance */

/** One participant of a group. A process may have several. */
typedef struct pares_instance pares_instance;

/** The role of an instance. */
typedef enum pares_role {
    /** It holds the supervisor port. */
    PARES_ROLE_SUPERVISOR = 1,
    /** It is connected to the supervisor. */
    PARES_ROLE_SUBORDINATE = 2,
    /** It is neither, during an election. */
    PARES_ROLE_CONTENDING = 3,
    /** It has left the group for good. */
    PARES_ROLE_STOPPED = 4
} pares_role;

/**
 * Joins the group, as supervisor if it has none, else as a subordinate. `config` may be used again.
 * Blocks until the instance has a role: usually under a millisecond, at most the join timeout.
 *
 * @param instance_out  receives a handle; free it with pares_leave()
 *
 * @return PARES_OK, or, with nothing left behind: PARES_KEY, PARES_PORT_HELD, PARES_OTHER_GROUP,
 * PARES_VERSION, PARES_PORT_FORBIDDEN, PARES_NOT_HERE, PARES_NAME_TAKEN, PARES_GROUP_FULL,
 * PARES_NO_SUPERVISOR, PARES_DEADLINE, PARES_IO
 */
pares_result pares_join(const pares_config *config, pares_instance **instance_out);

/**
 * Leaves the group and frees the handle. Other threads' calls on the instance return PARES_STOPPED,
 * and its subscriptions end after their last event. If it was supervisor, the quickest of the other
 * instances takes over.
 *
 * Blocks until running jobs and admin functions have returned. In a callback of this instance and
 * in any `free_user` it returns PARES_IN_CALLBACK and does nothing.
 */
pares_result pares_leave(pares_instance *instance);

/** Hands out the instance's unique name. */
pares_result pares_instance_name(const pares_instance *instance, const char **name_out);

/** Puts a pares_role into `role_out`. */
pares_result pares_instance_role(const pares_instance *instance, int *role_out);

/** Returns 1 if the instance is supervisor at the moment, else 0, also for a bad handle. */
int pares_instance_is_supervisor(const pares_instance *instance);

/**
 * Puts the term into `term_out`: the number of the present supervisorship, or of the last one that
 * the instance has seen. Each supervisorship has a larger term than the one before it, even after
 * all instances have died and the group starts again.
 */
pares_result pares_instance_term(const pares_instance *instance, uint64_t *term_out);

/** Returns the word for a pares_role, such as "supervisor". Never NULL. Do not free it. */
const char *pares_role_name(int role);

/**
 * Shows other instances, which may watch for hangs, that the program makes progress. Call it from
 * where the program must not stand still, more often than the shortest hang timeout in the group.
 * After the first call the others expect the next ones.
 */
pares_result pares_pulse(pares_instance *instance);

/**
 * Hands the supervisorship over to another instance and stays as a subordinate. The jobs of
 * pares_while_supervisor() end first. Blocks until another instance is supervisor, at most
 * `timeout_ms`.
 *
 * @return PARES_OK; PARES_ALONE and PARES_JOB_RUNNING: the instance is still supervisor;
 * PARES_NOT_SUPERVISOR; PARES_STOPPED; PARES_DEADLINE: the instance gave up the role but learned of
 * no successor in time; PARES_IN_CALLBACK in a callback of this instance
 */
pares_result pares_step_down(pares_instance *instance, uint64_t timeout_ms);

/**
 * Calls an admin function of the instance `name` ("main": the supervisor) and hands out its result,
 * followed by a NUL. Blocks while the function runs, at most `timeout_ms`.
 *
 * @param payload           up to 1 MiB, for the function
 * @param result_bytes_out  receives the size of the result without the NUL
 *
 * @return PARES_OK; the function did not run: PARES_NO_SUCH_INSTANCE, PARES_NO_SUCH_FUNCTION,
 * PARES_BUSY, PARES_IO and the results of a question; it ran: PARES_FUNCTION_FAILED; it may have
 * run: PARES_DEADLINE, PARES_INSTANCE_LOST, PARES_STOPPED
 */
pares_result pares_call(pares_instance *instance, const char *name, const char *function,
                        const void *payload, size_t payload_bytes, uint64_t timeout_ms,
                        const void **result_out, size_t *result_bytes_out);

/* -------------------------------------------------------------------------------------------------
 * work for the supervisor */

/** A job that runs while its instance is supervisor. */
typedef struct pares_job pares_job;

/** Tells a running job whether it may go on; lives until the job's function returns. */
typedef struct pares_guard pares_guard;

/**
 * The work of the supervisor. It must return soon after the guard asks for that: the instance keeps
 * the role until then, and so jobs of one group never overlap while their processes live. If it
 * returns by itself, it does not run again in this supervisorship.
 */
typedef void (*pares_job_function)(const pares_guard *guard, void *user);

/**
 * Runs `job` on a thread of its own, once in each supervisorship of this instance, until the job's
 * handle is freed or the instance leaves. Then the library calls `free_user`.
 *
 * @param job_out  receives a handle; free it with pares_job_end()
 *
 * @return PARES_OK; PARES_IO: no thread can be started
 */
pares_result pares_while_supervisor(pares_instance *instance, pares_job_function job, void *user,
                                    pares_free_user free_user, pares_job **job_out);

/**
 * Tells a job to end and frees the handle. Blocks until the job has returned. In the job itself it
 * does not block, and only keeps the job from running again.
 */
pares_result pares_job_end(pares_job *job);

/** Puts the term of the job's supervisorship into `term_out`, to fence what the job writes. */
pares_result pares_guard_term(const pares_guard *guard, uint64_t *term_out);

/** Returns 1 once the job must end, also for a bad handle, else 0. */
int pares_guard_should_stop(const pares_guard *guard);

/** Blocks until the job must end, at most `timeout_ms`. Returns 1 once the job must end, also for a
 * bad handle, else 0. */
int pares_guard_wait(const pares_guard *guard, uint64_t timeout_ms);

/* -------------------------------------------------------------------------------------------------
 * events */

/** A subscription to an instance's events. Several threads may take from it: each gets others. */
typedef struct pares_events pares_events;

/** The kinds of events, and the fields of pares_event that each uses. Skip unknown kinds. */
typedef enum pares_event_kind {
    /** The instance became supervisor: `term`. */
    PARES_EVENT_SUPERVISOR = 1,
    /** The instance became a subordinate: `term`, `name` of the supervisor. */
    PARES_EVENT_SUBORDINATE = 2,
    /** The instance has no role: `cause` (pares_contending_cause), `text`. */
    PARES_EVENT_CONTENDING = 3,
    /** All known survivors of the last election are in the registry again: `term`, `members`. */
    PARES_EVENT_SETTLED = 4,
    /** A permit of this instance is no longer valid: `permit`, `resource`, `units`. */
    PARES_EVENT_PERMIT_LOST = 5,
    /** The use of a resource exceeds its limit: `resource`, `in_use`, `limit`. */
    PARES_EVENT_OVER_LIMIT = 6,
    /** A setting changed: `key`, `value` with `value_bytes`; NULL if it was removed. */
    PARES_EVENT_SETTING = 7,
    /** A message arrived: `name` of the sender, `topic`, `payload` with `payload_bytes`. */
    PARES_EVENT_MESSAGE = 8,
    /** Someone called the admin function `stop`; the instance leaves. Call pares_leave(). */
    PARES_EVENT_STOP_ASKED = 9,
    /** The instance has left the group. This is the last event. */
    PARES_EVENT_STOPPED = 10,
    /** The subscription was full, and `missed` events before this one were dropped. */
    PARES_EVENT_MISSED = 11,
    /** An instance is alive but does not answer: `name`, `cause` (pares_stall_cause), `text`. */
    PARES_EVENT_STALLED = 12,
    /** An instance that was stalled answers again: `name`. */
    PARES_EVENT_RESUMED = 13,
    /** A shared listener (pares_listener.h) was shut down, and listens again: `text`. */
    PARES_EVENT_LISTENER_REVIVED = 14
} pares_event_kind;

/** Why an instance has no role. */
typedef enum pares_contending_cause {
    /** The supervisor died. */
    PARES_CAUSE_SUPERVISOR_DIED = 1,
    /** The supervisor left the group. */
    PARES_CAUSE_SUPERVISOR_LEFT = 2,
    /** The supervisor, perhaps this instance itself, stepped down. */
    PARES_CAUSE_STEPPED_DOWN = 3,
    /** The supervisor cut this instance off. */
    PARES_CAUSE_EVICTED = 4,
    /** Something keeps the instance from taking part; `text` names it and the cure. It retries. */
    PARES_CAUSE_OBSTRUCTED = 5
} pares_contending_cause;

/** Why an instance counts as stalled. */
typedef enum pares_stall_cause {
    /** Its process is stopped, by SIGSTOP or a debugger. */
    PARES_STALLED_STOPPED = 1,
    /** Its process is dead and writes a core dump. */
    PARES_STALLED_DUMPING_CORE = 2,
    /** It waits for a processor: the machine is too busy. */
    PARES_STALLED_STARVED = 3,
    /** It does not answer, for an unknown reason. */
    PARES_STALLED_SILENT = 4,
    /** It answers, but its program no longer calls pares_pulse(). */
    PARES_STALLED_NO_PROGRESS = 5
} pares_stall_cause;

/** One event. Fields that its kind does not use are 0 or NULL. */
typedef struct pares_event {
    /** A pares_event_kind. */
    int kind;
    /** A pares_contending_cause or a pares_stall_cause. */
    int cause;
    /** The time, by CLOCK_MONOTONIC, at which the instance learned of it. */
    uint64_t monotonic_ns;
    uint64_t term;
    uint64_t members;
    /** The number that pares_permit_id() returns. */
    uint64_t permit;
    uint64_t units;
    uint64_t in_use;
    uint64_t limit;
    uint64_t missed;
    const char *name;
    const char *resource;
    const char *key;
    /** Its `value_bytes` may contain NULs; a NUL follows them. */
    const char *value;
    size_t value_bytes;
    const char *topic;
    /** A NUL follows its `payload_bytes`. */
    const void *payload;
    size_t payload_bytes;
    const char *text;
} pares_event;

/**
 * Subscribes to the instance's events. The first ones report the present role, and whether the
 * group is settled.
 *
 * The library never waits for a subscriber: a subscription that holds as many events as
 * pares_config_events() allows misses the next ones.
 *
 * @param events_out  receives a handle; free it with pares_events_close()
 */
pares_result pares_events_open(pares_instance *instance, pares_events **events_out);

/**
 * Takes the next event and hands it out. Blocks until there is one, at most `timeout_ms`; with 0 it
 * does not block.
 *
 * @return PARES_OK; PARES_DEADLINE: no event has come yet; PARES_END: no more events will come
 */
pares_result pares_events_next(pares_events *events, uint64_t timeout_ms,
                               const pares_event **event_out);

/**
 * Puts a descriptor for select(), poll() and similar calls into `descriptor_out`. It is readable
 * exactly while pares_events_next() would not block: an event is there, or the end has come.
 *
 * The descriptor belongs to the library, is the same each time, and lives until `events` is closed:
 * do not read, write or close it.
 *
 * @return PARES_OK; PARES_IO: the process has no free descriptor
 */
pares_result pares_events_descriptor(pares_events *events, int *descriptor_out);

/** Ends a subscription and frees the handle. A waiting pares_events_next() returns PARES_END. */
pares_result pares_events_close(pares_events *events);

/** Returns the word for a pares_event_kind, such as "permit-lost". Never NULL. Do not free it. */
const char *pares_event_kind_name(int kind);

/* -------------------------------------------------------------------------------------------------
 * registry */

/** One instance, as the registry lists it. */
typedef struct pares_entry {
    const char *name;
    /** A random number that tells this life of the instance from a later one of the same name. */
    uint64_t id;
    /** The time at which it first joined, in milliseconds since 1970-01-01 UTC. */
    uint64_t joined_ms;
    uint32_t pid;
    uint32_t uid;
    /** The port of its admin endpoint, on 127.0.0.1. */
    uint32_t admin_port;
    /** A pares_role. */
    int role;
    size_t meta_count;
    const char *const *meta_keys;
    const char *const *meta_values;
    size_t function_count;
    /** The names of its admin functions, in alphabetical order. */
    const char *const *functions;
} pares_entry;

/** The registry at one moment. */
typedef struct pares_listing {
    /** The number of the present supervisorship. */
    uint64_t term;
    /** 1 once all known survivors of the last election are in the registry again, else 0. */
    int settled;
    const char *supervisor;
    size_t count;
    /** Sorted by name. */
    const pares_entry *const *entries;
} pares_listing;

/** Why the last election took place. */
typedef enum pares_election_cause {
    /** The group had no supervisor before. */
    PARES_ELECTED_FIRST = 1,
    /** The previous supervisor died. */
    PARES_ELECTED_AFTER_DEATH = 2,
    /** The previous supervisor stepped down. */
    PARES_ELECTED_AFTER_STEP_DOWN = 3,
    /** The previous supervisor left the group. */
    PARES_ELECTED_AFTER_LEAVE = 4
} pares_election_cause;

/** The state of a group, as its supervisor sees it. */
typedef struct pares_status {
    const char *group;
    const char *supervisor;
    uint64_t term;
    /** The number of instances in the registry, the supervisor included. */
    uint64_t members;
    /** The time of the supervisor's election, in milliseconds since 1970-01-01 UTC. */
    uint64_t since_ms;
    /** The supervisor port. */
    uint32_t port;
    uint32_t supervisor_admin_port;
    uint32_t registry_port;
    /** As in pares_listing. */
    int settled;
    /** A pares_election_cause. */
    int cause;
} pares_status;

/**
 * Hands out a list of all instances. Blocks for one round trip to the supervisor,
 * at most `timeout_ms`.
 *
 * @return PARES_OK or the results of a question
 */
pares_result pares_registry_list(pares_instance *instance, uint64_t timeout_ms,
                                 const pares_listing **listing_out);

/**
 * Looks up one instance by its unique name ("main": the supervisor), and hands out a list of this
 * one alone. Blocks like pares_registry_list().
 *
 * @return PARES_OK or the results of a question; PARES_NO_SUCH_INSTANCE: no instance has this name,
 * but one may still come back until the registry is settled
 */
pares_result pares_registry_look_up(pares_instance *instance, const char *name, uint64_t timeout_ms,
                                    const pares_listing **listing_out);

/** Hands out the state of the group. Blocks and returns like pares_registry_list(). */
pares_result pares_registry_status(pares_instance *instance, uint64_t timeout_ms,
                                   const pares_status **status_out);

/* -------------------------------------------------------------------------------------------------
 * permits, tallies, limits */

/** Units of a resource, held until the permit is released or this process ends. */
typedef struct pares_permit pares_permit;

/** This instance's count of a resource. The supervisor sums the counts of all instances. */
typedef struct pares_tally pares_tally;

/** One resource, as the supervisor sees it at one moment. */
typedef struct pares_usage {
    const char *resource;
    /** 0 if no instance has declared the resource, and `limit` means nothing. */
    int has_limit;
    uint64_t limit;
    /** Units held by permits and counted by tallies. */
    uint64_t in_use;
    /** The number of waiting requests. */
    uint64_t waiting;
    size_t holder_count;
    const char *const *holder_names;
    const uint64_t *holder_units;
} pares_usage;

/** Several resources, sorted by name. */
typedef struct pares_usages {
    size_t count;
    const pares_usage *const *usages;
} pares_usages;

/**
 * Acquires `units` (1 to 2^38) of a resource. The first request is served first, also across
 * elections. Blocks until the units are granted, at most `timeout_ms`; then the request is
 * withdrawn.
 *
 * @param permit_out  receives a handle; free it with pares_permit_release()
 *
 * @return PARES_OK, or, with nothing held: PARES_DEADLINE, PARES_OVER_LIMIT,
 * PARES_UNKNOWN_RESOURCE, PARES_TOO_MANY, PARES_STOPPED
 */
pares_result pares_acquire(pares_instance *instance, const char *resource, uint64_t units,
                           uint64_t timeout_ms, pares_permit **permit_out);

/**
 * Acquires units only if they are free at once. It returns PARES_EXHAUSTED if they are not, or if
 * other requests wait for them, and otherwise the same as pares_acquire(). Blocks for one round
 * trip to the supervisor, at most 5000 ms.
 */
pares_result pares_try_acquire(pares_instance *instance, const char *resource, uint64_t units,
                               pares_permit **permit_out);

/** Puts the permit's number into `id_out`. PARES_EVENT_PERMIT_LOST names the permit by it. */
pares_result pares_permit_id(const pares_permit *permit, uint64_t *id_out);

/**
 * Returns 1 if the permit is held, else 0. It returns 0 once the permit was taken away or its
 * instance has left, and also for a bad handle. After the instance was without a supervisor for
 * longer than the settle time, or was cut off, others may hold the same units: then it returns 0
 * until a settled supervisor confirms the permit.
 */
int pares_permit_is_valid(const pares_permit *permit);

/** Releases the units and frees the handle. */
pares_result pares_permit_release(pares_permit *permit);

/**
 * Begins to count the use of a resource for which no permit is needed. The counts of all instances
 * count towards its limit.
 *
 * @param tally_out  receives a handle; free it with pares_tally_free(). All tallies of one resource
 *                   in one instance share one count.
 *
 * @return PARES_OK; PARES_TOO_MANY: the instance already counts 64 other resources
 */
pares_result pares_tally_open(pares_instance *instance, const char *resource,
                              pares_tally **tally_out);

/** Adds `units`. `count_out` (may be NULL) receives the new count. */
pares_result pares_tally_add(pares_tally *tally, uint64_t units, uint64_t *count_out);

/** Subtracts `units`, down to 0. `count_out` (may be NULL) receives the new count. */
pares_result pares_tally_sub(pares_tally *tally, uint64_t units, uint64_t *count_out);

/** Puts the instance's own count into `count_out`. */
pares_result pares_tally_count(const pares_tally *tally, uint64_t *count_out);

/**
 * Puts the sum of all instances' counts into `total_out`. Blocks for one round trip to the
 * supervisor, at most `timeout_ms`.
 *
 * @return PARES_OK, PARES_DEADLINE, PARES_BUSY, PARES_STOPPED
 */
pares_result pares_tally_total(const pares_tally *tally, uint64_t timeout_ms, uint64_t *total_out);

/** Frees the handle. The count remains. */
pares_result pares_tally_free(pares_tally *tally);

/**
 * Hands out the use of `resource`, or of all resources if it is NULL, by each instance. Blocks for
 * one round trip to the supervisor, at most `timeout_ms`.
 *
 * @return PARES_OK or the results of a question; PARES_UNKNOWN_RESOURCE
 */
pares_result pares_usage_list(pares_instance *instance, const char *resource, uint64_t timeout_ms,
                              const pares_usages **usages_out);

/**
 * Changes a resource's limit for all instances, until the next change. Holders keep what they hold.
 * Blocks until all connected instances have been told, at most `timeout_ms`.
 *
 * @return PARES_OK or the results of a question; PARES_UNKNOWN_RESOURCE
 */
pares_result pares_set_limit(pares_instance *instance, const char *resource, uint64_t limit,
                             uint64_t timeout_ms);

/**
 * Takes all permits of `resource` away from the instance `holder` ("main": the supervisor), and
 * puts their number into `permits_out`, which may be NULL. Blocks for one round trip to the
 * supervisor, at most `timeout_ms`.
 *
 * @return PARES_OK or the results of a question; PARES_UNKNOWN_RESOURCE, PARES_NO_SUCH_INSTANCE
 */
pares_result pares_revoke(pares_instance *instance, const char *resource, const char *holder,
                          uint64_t timeout_ms, uint64_t *permits_out);

/* -------------------------------------------------------------------------------------------------
 * settings and messages */

/** All settings, sorted by key. */
typedef struct pares_settings {
    size_t count;
    const char *const *keys;
    /** The `value_bytes` of each may contain NULs; a NUL follows them. */
    const char *const *values;
    const size_t *value_bytes;
} pares_settings;

/**
 * Hands out a setting as this instance knows it, followed by a NUL. Works without a supervisor.
 *
 * @param value_bytes_out  receives the size without the NUL; may be NULL
 *
 * @return PARES_OK; PARES_NO_SUCH_SETTING: it is not set
 */
pares_result pares_setting_get(const pares_instance *instance, const char *key,
                               const char **value_out, size_t *value_bytes_out);

/**
 * Sets a setting for all instances. It survives the supervisor. A key has 1 to 64 bytes without
 * white space or control characters, a value up to 16 KiB. Blocks until the setting was written to
 * all instances, at most `timeout_ms`.
 *
 * @return PARES_OK or the results of a question; PARES_TOO_MANY: the group already has 256 settings
 * or 64 KiB of them
 */
pares_result pares_setting_set(pares_instance *instance, const char *key, const char *value,
                               uint64_t timeout_ms);

/** Removes a setting, if it is set. Blocks and returns like pares_setting_set(). */
pares_result pares_setting_unset(pares_instance *instance, const char *key, uint64_t timeout_ms);

/**
 * Sets a setting if its value is `expected` (NULL: if it is not set). Blocks and returns like
 * pares_setting_set(), and can return PARES_SETTING_CHANGED: the setting has another value.
 *
 * @param present_out  on PARES_SETTING_CHANGED receives the present value, NULL if the setting is
 *                     not set; may be NULL
 */
pares_result pares_setting_compare_and_set(pares_instance *instance, const char *key,
                                           const char *expected, const char *value,
                                           uint64_t timeout_ms, const char **present_out);

/** Hands out all settings as this instance knows them. Works without a supervisor. */
pares_result pares_setting_list(const pares_instance *instance,
                                const pares_settings **settings_out);

/**
 * Sends a message of up to 64 KiB to all instances, this one included, and puts their number into
 * `receivers_out`, which may be NULL. All instances receive the messages of one supervisorship in
 * the same order, each message at most once. The rules for a key hold for a topic, too. Blocks for
 * one round trip to the supervisor, at most `timeout_ms`.
 *
 * @return PARES_OK or the results of a question
 */
pares_result pares_broadcast(pares_instance *instance, const char *topic, const void *payload,
                             size_t payload_bytes, uint64_t timeout_ms, uint64_t *receivers_out);

/**
 * Sends a message to the instance `name` ("main": the supervisor) alone. Blocks like
 * pares_broadcast().
 *
 * @return PARES_OK or the results of a question; PARES_NO_SUCH_INSTANCE; PARES_RECEIVER_BEHIND: the
 * instance reads its messages too slowly, and misses this one
 */
pares_result pares_send(pares_instance *instance, const char *name, const char *topic,
                        const void *payload, size_t payload_bytes, uint64_t timeout_ms);

#ifdef __cplusplus
}
#endif

#endif
