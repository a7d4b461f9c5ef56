/**
 * pares: instances of one program on one machine elect a supervisor, keep a registry, share limited
 * resources, settings and messages, and know of every death at once. The second system, groups that
 * need no supervisor and span machines, is in pares_peer.h; this header does without it.
 *
 * This header is the contract; tests hold it to the code. C99 and C++11.
 *
 *     cc program.c -lpares        or: cc program.c $(pkg-config --cflags --libs pares)
 *
 * Conventions
 *
 *   Results. A function that can fail returns a pares_result: PARES_OK (0), or the reason; then
 *   pares_last_error() says it in words. Numbers are never given a second meaning, and new ones
 *   come with time: treat one that you do not know as a failure. Each function says which results
 *   have a meaning of their own for it. Not repeated there, because any may give them:
 *   PARES_NULL_ARGUMENT, PARES_NOT_UTF8, PARES_INVALID, PARES_BAD_HANDLE, PARES_FORKED,
 *   PARES_PANIC. After a failure nothing was done, and every result's place holds NULL or 0, where
 *   nothing else is said.
 *
 *   Asking. Functions that ask the supervisor may also give PARES_NO_SUPERVISOR,
 *   PARES_SUPERVISOR_LOST, PARES_DEADLINE, PARES_BUSY, PARES_STOPPED, PARES_IO, and the reasons for
 *   which pares_join() fails. During an election they wait for the new supervisor. Where something
 *   is changed, PARES_SUPERVISOR_LOST and PARES_DEADLINE leave open whether it was.
 *
 *   Strings are NUL-terminated UTF-8. Those that are passed in are only read during the call. "May
 *   be NULL" is said where it is so. Bytes are a pointer and a count; of none, the pointer may be
 *   NULL.
 *
 *   Memory. What is handed out through a parameter (strings, bytes, structs) is only read by the
 *   caller and freed by pares_free(), all of it with one call for the outermost pointer. What is
 *   returned directly as `const char *` is the library's and is not freed. Structs grow at their
 *   end in later versions: do not copy them, do not make arrays of them.
 *
 *   Handles belong to the caller, and each is freed once with the function that its maker names. A
 *   handle that was freed, is of another type, or never was one is recognised: PARES_BAD_HANDLE.
 *   Freeing NULL does nothing. A handle may be freed while another thread is in a call with it;
 *   that call then ends as it would have, or as is said. Permits, tallies, jobs and subscriptions
 *   may be freed before or after their instance or peer has left.
 *
 *   Threads. Every function may be called by any thread, several at once on one handle. A blocking
 *   call holds up no other. The library starts threads of its own, which take none of the program's
 *   signals: signalfd, sigwait and ppoll work as if they were not there. It raises no SIGPIPE.
 *
 *   Times are in milliseconds; PARES_FOR_EVER is without end, and no number is too large. Where
 *   nothing is said of blocking, a function does not block.
 *
 *   Callbacks run on the library's threads, several at once, with the signal mask that the thread
 *   had which called pares_join(), pares_while_supervisor() or pares_peer_join(), and so do the
 *   threads and processes that they start: a program that takes signals otherwise than by handlers
 *   blocks them before that. They may call everything here, except what would wait for themselves:
 *   PARES_IN_CALLBACK. They must return: no longjmp, no C++ exception. `user` is the caller's own
 *   pointer; `free_user` (may be NULL) is called with it exactly once, when no callback will get it
 *   any more, on whichever thread that is, and also if the function that it was given to fails.
 *
 *   fork(). The child has none of its parent's instances and peers: its parent's handles give
 *   PARES_FORKED there (yes-or-no functions say what they say of a bad handle), and need not be
 *   freed; nor need memory. The child may join by itself, at once. The parent notices nothing. A
 *   child that was forked in a callback ends when it returns from it.
 *
 *   Closing descriptors. A program that closes all, as some do that make themselves daemons, closes
 *   the library's: its instances and peers then have left (PARES_GONE, PARES_STOPPED), are still to
 *   be freed, and it may join anew. What it opens afterwards is not touched, except that a call
 *   which is under way in that very moment may meet a socket that has got the number of one of the
 *   library's: nothing should be asked of an instance meanwhile.
 *
 *   The library must stay loaded (no dlclose()) once it was used.
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

/** The version of this interface: it grows with each addition. What is not compatible gets another
 * soname. */
#define PARES_ABI_VERSION 1

/** As a time: without end. */
#define PARES_FOR_EVER UINT64_MAX

typedef enum pares_result {
    PARES_OK = 0,
    /** A pointer that must not be NULL is. */
    PARES_NULL_ARGUMENT = 1,
    /** A string is not UTF-8. */
    PARES_NOT_UTF8 = 2,
    /** A value is not allowed: a name, a number, a size. */
    PARES_INVALID = 3,
    /** The handle was freed, never existed, or is of another type. */
    PARES_BAD_HANDLE = 4,
    /** The handle is that of a process that this one was forked from. */
    PARES_FORKED = 5,
    /** The library panicked: a defect. Nothing more is known of what was under way. */
    PARES_PANIC = 6,
    /** The system refused something. */
    PARES_IO = 7,
    /** The time was over. */
    PARES_DEADLINE = 8,
    /** The instance, or the peer, has left its group. */
    PARES_STOPPED = 9,
    /** The key file cannot be used. */
    PARES_KEY = 10,
    /** The supervisor port is held by another program, or by one without the group's key; or a
     * peer's UDP port is. */
    PARES_PORT_HELD = 11,
    /** The supervisor port serves another group. */
    PARES_OTHER_GROUP = 12,
    /** No common protocol version with the supervisor. */
    PARES_VERSION = 13,
    /** This user may not bind the supervisor port, or a peer's UDP port. */
    PARES_PORT_FORBIDDEN = 14,
    /** A living instance has this name. */
    PARES_NAME_TAKEN = 15,
    /** The group has as many instances as it may have. */
    PARES_GROUP_FULL = 16,
    /** There is no supervisor at the moment. */
    PARES_NO_SUPERVISOR = 17,
    /** The supervisor went away before it answered. */
    PARES_SUPERVISOR_LOST = 18,
    /** The supervisor, or the instance that was called, serves as many as it can. */
    PARES_BUSY = 19,
    /** No such instance. */
    PARES_NO_SUCH_INSTANCE = 20,
    /** The instance has no such function. */
    PARES_NO_SUCH_FUNCTION = 21,
    /** The function failed; pares_last_error() is its own text. */
    PARES_FUNCTION_FAILED = 22,
    /** The instance that was called is gone; the function may have run. */
    PARES_INSTANCE_LOST = 23,
    /** Too few units are free, or others have waited longer. */
    PARES_EXHAUSTED = 24,
    /** More units were asked for than there may be in all, or for one holder. */
    PARES_OVER_LIMIT = 25,
    /** Nobody has declared the resource. */
    PARES_UNKNOWN_RESOURCE = 26,
    /** More permits, tallies, settings or bytes than there may be. */
    PARES_TOO_MANY = 27,
    /** The setting has another value than the one that was expected. */
    PARES_CHANGED = 28,
    /** The receiver does not take its messages; it misses this one. */
    PARES_BEHIND = 29,
    /** The instance is not supervisor. */
    PARES_NOT_SUPERVISOR = 30,
    /** There is no other instance that could take over. */
    PARES_ALONE = 31,
    /** A job of the supervisor did not end in time. */
    PARES_JOB_RUNNING = 32,
    /** There is no such setting. */
    PARES_NOT_FOUND = 33,
    /** There will be no more events: the instance or peer has left its group, or the subscription
     * was closed. */
    PARES_END = 34,
    /** It would wait for the callback that it is called from. */
    PARES_IN_CALLBACK = 35,
    /** This machine lacks the network address or interface, or the group's loopback address. */
    PARES_NOT_HERE = 36,
    /** The process is not primary. */
    PARES_NOT_PRIMARY = 37,
    /** There is no such process in the record. */
    PARES_NO_SUCH_PEER = 38
} pares_result;

/** The PARES_ABI_VERSION of the library that was loaded. If it is smaller than the header's,
 * functions are missing. */
uint32_t pares_abi_version(void);

/** The version of the library, as "1.2.3". Not to be freed. */
const char *pares_version(void);

/** The name of a result as it is written here, as "PARES_OK". Never NULL. Not to be freed. */
const char *pares_result_name(int result);

/**
 * What the last function of this library that failed in this thread has to say, in English, for
 * people; "" before the first. Never NULL. Not to be freed: it lives until the next failure in this
 * thread, or its end.
 */
const char *pares_last_error(void);

/**
 * Frees memory that was handed out, all of it: `memory` is the pointer that a function has put into
 * its `…_out`.
 *
 * @return PARES_OK, also for NULL; PARES_BAD_HANDLE if it was not handed out, or has been freed:
 * then nothing was done. (An address may come again. What was freed twice is recognised as long as
 * it has not.)
 */
pares_result pares_free(const void *memory);

/* -------------------------------------------------------------------------------------------------
 * configuration */

/** What an instance is to be. */
typedef struct pares_config pares_config;

/** What an admin function says; lives as long as the call of the function. */
typedef struct pares_reply pares_reply;

/** Frees a callback's own data. */
typedef void (*pares_free_user)(void *user);

/**
 * An admin function, which other instances and operators may call: reads the caller's `payload`,
 * which lives until it returns and is never NULL, and answers with pares_reply_set() or
 * pares_reply_fail(), of which the last one counts. Without either the answer has no bytes.
 *
 * It may take as long as it wants: it runs on a thread of its caller's connection, and the caller
 * has a deadline.
 */
typedef void (*pares_function)(pares_reply *reply, const void *payload, size_t payload_bytes,
                               void *user);

/**
 * Makes a configuration with all defaults.
 *
 * @param group the group's name, 1 to 64 characters out of A-Z a-z 0-9 . _ - ; NULL: "default"
 * @param config_out receives a handle, to be freed with pares_config_free()
 */
pares_result pares_config_new(const char *group, pares_config **config_out);

/**
 * Sets the supervisor port, the same for all of the group; it is then on 127.0.0.1. Default: 30099
 * there for the group `default`; else a number from 20000 to 29999 and, on Linux, an address of
 * 127.0.0.0/8, both made from the group and the user.
 */
pares_result pares_config_port(pares_config *config, uint16_t port);

/**
 * Sets the instance's unique name: 1 to 128 bytes, no white space or control characters, not
 * "main", not beginning with @ or -. Default: the program's name, a dash, and a number that no two
 * living instances share.
 */
pares_result pares_config_name(pares_config *config, const char *name);

/**
 * Sets the directory of the group's key and last term; made, for this user only, where it is
 * missing. Any bytes that are an absolute path. Default: $PARES_DIR; else pares in the first of
 * $STATE_DIRECTORY or in $XDG_STATE_HOME; else .local/state/pares in $HOME, or in the home that the
 * user database has. `pares doctor` says which it is, and why.
 */
pares_result pares_config_directory(pares_config *config, const char *directory);

/**
 * Sets the file with the group's key: a regular file of 32 bytes, this user's or root's, that
 * nobody else can write; also by way of a symbolic link, and one of root's that others can read, as
 * an orchestrator mounts it. Any path. One that is missing is PARES_KEY, and is not made. Default:
 * GROUP.key in the directory, for this user only, made new.
 */
pares_result pares_config_key_file(pares_config *config, const char *key_file);

/** Adds a key and value to the instance's registry entry; at most 32, of 4096 bytes in all. */
pares_result pares_config_meta(pares_config *config, const char *key, const char *value);

/** Sets how long pares_join() may take. Default: 10 s. */
pares_result pares_config_join_timeout(pares_config *config, uint64_t timeout_ms);

/**
 * If `may` is 0: the instance never becomes supervisor, and takes part in all else. While nobody
 * supervises, as in a group of only such instances, a join fails with PARES_NO_SUPERVISOR after the
 * join timeout, and those who had a role are PARES_CONTENDING, keep what they hold and get nothing
 * new, until an instance comes that may. Default: 1.
 */
pares_result pares_config_may_supervise(pares_config *config, int may);

/** Sets how long a new supervisor waits, at most, for the next survivor of the last one: 0.3 ms for
 * each instance if that is more. Default: 500 ms. */
pares_result pares_config_settle_time(pares_config *config, uint64_t time_ms);

/** Sets how many instances this one admits as supervisor, itself included. Default and most: 16384.
 */
pares_result pares_config_max_members(pares_config *config, size_t members);

/** Sets how many events a subscription holds before it misses some, at least 2. Default: 1024. */
pares_result pares_config_events(pares_config *config, size_t capacity);

/**
 * If `release` is not 0: has this process give the supervisor port and its connections up in the
 * moment of a crash, by handlers for SIGSEGV, SIGABRT and their like, which then hand the signal on
 * to what was installed before. Else others take over only when its core dump is written. For the
 * whole process, from the first join that asks for it. Default: 0.
 */
pares_result pares_config_release_on_crash(pares_config *config, int release);

/**
 * Has the instance watch for hangs: whoever at the other end of a connection to it gives no good
 * answer for `timeout_ms` (100 ms to a day) is reported, PARES_EVENT_STALLED. Costs wake-ups.
 * Default: off.
 */
pares_result pares_config_hang_timeout(pares_config *config, uint64_t timeout_ms);

/**
 * If `end` is not 0: has the instance end its supervisor's process by SIGKILL when that hangs, so
 * that another takes over. Never one that only lacks a processor. Needs a hang timeout, which is to
 * be set first. Default: 0.
 */
pares_result pares_config_end_hung_supervisor(pares_config *config, int end);

/**
 * Declares a resource of which all instances together may use `limit` units (0 to 2^38) at most;
 * all should declare the same. A name has 1 to 64 bytes, no white space or control characters, and
 * does not begin with a dash.
 */
pares_result pares_config_resource(pares_config *config, const char *resource, uint64_t limit);

/** The same, where one instance may hold at most `per_holder` units at a time. */
pares_result pares_config_resource_per_holder(pares_config *config, const char *resource,
                                              uint64_t limit, uint64_t per_holder);

/**
 * Adds an admin function; at most 56. One of the name of a built-in one (ping, info, functions,
 * log-level, stop, step-down) replaces it.
 *
 * @param name 1 to 64 bytes, no white space or control characters, not beginning with a dash @param
 * help what it does, for operators; may be NULL @param function not NULL @param user handed to
 * `function` @param free_user called when this configuration is freed and all instances joined with
 * it have left
 */
pares_result pares_config_function(pares_config *config, const char *name, const char *help,
                                   pares_function function, void *user, pares_free_user free_user);

/** Frees a configuration. Instances that were joined with it keep what they need. */
pares_result pares_config_free(pares_config *config);

/** In an admin function: answers with a copy of these bytes, up to 1 MiB. */
pares_result pares_reply_set(pares_reply *reply, const void *result, size_t result_bytes);

/** In an admin function: answers with an error, whose text the caller finds in its
 * pares_last_error(). */
pares_result pares_reply_fail(pares_reply *reply, const char *text);

/* -------------------------------------------------------------------------------------------------
 * instance */

/** One participant of a group. Several may live in one process. */
typedef struct pares_instance pares_instance;

/** What an instance is at the moment. */
typedef enum pares_role {
    /** It holds the supervisor port. */
    PARES_SUPERVISOR = 1,
    /** It is connected to the supervisor. */
    PARES_SUBORDINATE = 2,
    /** Neither, for the moment of an election. */
    PARES_CONTENDING = 3,
    /** It has left the group, for good. */
    PARES_GONE = 4
} pares_role;

/**
 * Joins the group: becomes supervisor if there is none, else a subordinate. `config` is only read,
 * and may serve again.
 *
 * Blocks until one of both is known: usually under a millisecond, at most the join timeout of
 * `config`.
 *
 * @param instance_out  receives a handle, to be freed with pares_leave()
 *
 * @return PARES_OK, or, with nothing left behind: PARES_KEY, PARES_PORT_HELD, PARES_OTHER_GROUP,
 * PARES_VERSION, PARES_PORT_FORBIDDEN, PARES_NOT_HERE, PARES_NAME_TAKEN, PARES_GROUP_FULL,
 * PARES_NO_SUPERVISOR, PARES_DEADLINE, PARES_IO
 */
pares_result pares_join(const pares_config *config, pares_instance **instance_out);

/**
 * Leaves the group and frees the handle. Other threads' calls on the instance end with
 * PARES_STOPPED, and its subscriptions end once their events were taken. A supervisor hands over to
 * whoever is quickest.
 *
 * Blocks until jobs and admin functions that run have returned. PARES_IN_CALLBACK in one of the
 * instance's own callbacks and in any `free_user`: nothing was done.
 */
pares_result pares_leave(pares_instance *instance);

/** Hands out the instance's unique name. */
pares_result pares_instance_name(const pares_instance *instance, const char **name_out);

/** Puts a pares_role into `role_out`. */
pares_result pares_instance_role(const pares_instance *instance, int *role_out);

/** 1 if the instance is supervisor at the moment, else 0, also for a bad handle. */
int pares_instance_is_supervisor(const pares_instance *instance);

/**
 * Puts the number of the present supervisorship, or of the last one seen, into `term_out`. It grows
 * with each, also when all instances die and the group starts anew.
 */
pares_result pares_instance_term(const pares_instance *instance, uint64_t *term_out);

/** The word for a pares_role, as "supervisor". Never NULL. Not to be freed. */
const char *pares_role_name(int role);

/**
 * Shows that the program makes progress, for those who watch for hangs. To be called from where the
 * program must not stand still, more often than the shortest hang timeout in the group; from the
 * first call on the next ones are expected.
 *
 * @return PARES_OK
 */
pares_result pares_pulse(pares_instance *instance);

/**
 * Gives the supervisorship to another instance and stays as a subordinate. First the jobs of
 * pares_while_supervisor() are told to end and waited for.
 *
 * Blocks until another instance is supervisor, at most `timeout_ms`.
 *
 * @return PARES_OK, or, still supervisor: PARES_ALONE, PARES_JOB_RUNNING; or PARES_NOT_SUPERVISOR,
 * PARES_STOPPED; PARES_DEADLINE: the role was given up, but no successor was known in time;
 * PARES_IN_CALLBACK in one of the instance's own callbacks
 */
pares_result pares_step_down(pares_instance *instance, uint64_t timeout_ms);

/**
 * Calls an admin function of the instance `name` ("main": the supervisor) and hands out its result,
 * with a NUL after it.
 *
 * Blocks for as long as the function runs, at most `timeout_ms`.
 *
 * @param payload           up to 1 MiB, for the function
 * @param result_bytes_out  receives the size of the result, without the NUL
 *
 * @return PARES_OK; nothing was called: PARES_NO_SUCH_INSTANCE, PARES_NO_SUCH_FUNCTION, PARES_BUSY,
 * PARES_IO, and as for asking; it ran: PARES_FUNCTION_FAILED; it may have run: PARES_DEADLINE,
 * PARES_INSTANCE_LOST, PARES_STOPPED
 */
pares_result pares_call(pares_instance *instance, const char *name, const char *function,
                        const void *payload, size_t payload_bytes, uint64_t timeout_ms,
                        const void **result_out, size_t *result_bytes_out);

/* -------------------------------------------------------------------------------------------------
 * work for the supervisor */

/** A job that runs whenever its instance is supervisor. */
typedef struct pares_job pares_job;

/** What a running job asks whether it may go on; lives as long as the call of the job's function.
 */
typedef struct pares_guard pares_guard;

/**
 * The work of the supervisor. It must return soon after the guard says so: until then the role is
 * kept, so that jobs of one group never overlap as long as their processes live. If it returns by
 * itself, its work for this supervisorship is done.
 */
typedef void (*pares_job_function)(const pares_guard *guard, void *user);

/**
 * Runs `job` on a thread of its own once in each supervisorship of this instance, until the job's
 * handle is freed or the instance leaves; then `free_user` is called.
 *
 * @param job_out  receives a handle, to be freed with pares_job_end()
 *
 * @return PARES_OK; PARES_IO: no thread can be started
 */
pares_result pares_while_supervisor(pares_instance *instance, pares_job_function job, void *user,
                                    pares_free_user free_user, pares_job **job_out);

/**
 * Tells a job to end, and frees the handle. Blocks until it has returned, except in the job itself,
 * where it is allowed and only says that the job shall not be run again.
 */
pares_result pares_job_end(pares_job *job);

/** Puts the number of the job's supervisorship into `term_out`: fence with it what the job writes
 * elsewhere. */
pares_result pares_guard_term(const pares_guard *guard, uint64_t *term_out);

/** 1 once the job must end, also for a bad handle, else 0. */
int pares_guard_should_stop(const pares_guard *guard);

/** Waits up to `timeout_ms` for the moment at which the job must end; 1 if it has come, also for a
 * bad handle, else 0. */
int pares_guard_wait(const pares_guard *guard, uint64_t timeout_ms);

/* -------------------------------------------------------------------------------------------------
 * events */

/** A subscription to an instance's events. Of those who take from one subscription together, each
 * event reaches one. */
typedef struct pares_events pares_events;

/** What happened; which fields of pares_event it uses. New kinds come with time: skip what you do
 * not know. */
typedef enum pares_event_kind {
    /** The instance is supervisor now: `term`. */
    PARES_EVENT_SUPERVISOR = 1,
    /** It is a subordinate now: `term`, `name` of the supervisor. */
    PARES_EVENT_SUBORDINATE = 2,
    /** It has no role: `cause`, and `text` for it. */
    PARES_EVENT_CONTENDING = 3,
    /** All known survivors of the last election are in the registry again: `term`, `members`. */
    PARES_EVENT_SETTLED = 4,
    /** A permit of this instance is no longer valid: `permit`, `resource`, `units`. */
    PARES_EVENT_PERMIT_LOST = 5,
    /** More of a resource is in use than there may be: `resource`, `in_use`, `limit`. */
    PARES_EVENT_OVER_LIMIT = 6,
    /** A setting has changed: `key`, `value` with `value_bytes`, NULL if it was removed. */
    PARES_EVENT_SETTING = 7,
    /** A message: `name` of the sender, `topic`, `payload` with `payload_bytes`. */
    PARES_EVENT_MESSAGE = 8,
    /** Somebody asked this instance to leave (the admin function `stop`); it is about to. Call
     * pares_leave(). */
    PARES_EVENT_STOP_ASKED = 9,
    /** It has left the group. The last event. */
    PARES_EVENT_STOPPED = 10,
    /** So many events before this one are missing, because they were not taken in time: `missed`.
     */
    PARES_EVENT_MISSED = 11,
    /** An instance lives and does not answer: `name`, `cause`, a pares_stall_cause, and `text` for
     * it. */
    PARES_EVENT_STALLED = 12,
    /** One that was stalled answers again: `name`. */
    PARES_EVENT_RESUMED = 13
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
    /** Something prevents it from taking part; it goes on trying. The text says what, and what to
     * do. */
    PARES_CAUSE_OBSTRUCTED = 5
} pares_contending_cause;

/** Why an instance counts as stalled. */
typedef enum pares_stall_cause {
    /** Its process is stopped: SIGSTOP, or a debugger. */
    PARES_STALLED_STOPPED = 1,
    /** Its process is dead and writes a core dump. */
    PARES_STALLED_DUMPING_CORE = 2,
    /** It waits for a processor: the machine is too busy for it. */
    PARES_STALLED_STARVED = 3,
    /** It does not answer, for whatever reason. */
    PARES_STALLED_SILENT = 4,
    /** It answers, and its program no longer calls pares_pulse(). */
    PARES_STALLED_NO_PROGRESS = 5
} pares_stall_cause;

/** One event. Fields that its kind does not use are 0 or NULL. */
typedef struct pares_event {
    /** A pares_event_kind. */
    int kind;
    /** A pares_contending_cause or a pares_stall_cause. */
    int cause;
    /** CLOCK_MONOTONIC when the instance knew it. */
    uint64_t monotonic_ns;
    uint64_t term;
    uint64_t members;
    /** The number that pares_permit_id() gives. */
    uint64_t permit;
    uint64_t units;
    uint64_t in_use;
    uint64_t limit;
    uint64_t missed;
    const char *name;
    const char *resource;
    const char *key;
    /** May have a NUL within its `value_bytes`; one more follows them. */
    const char *value;
    size_t value_bytes;
    const char *topic;
    /** A NUL follows its `payload_bytes`. */
    const void *payload;
    size_t payload_bytes;
    const char *text;
} pares_event;

/**
 * Subscribes to the instance's events. The first ones tell the present role, and whether the group
 * is settled.
 *
 * The library never waits for a subscriber: one that holds as many events as pares_config_events()
 * says misses the next.
 *
 * @param events_out  receives a handle, to be freed with pares_events_close()
 */
pares_result pares_events_open(pares_instance *instance, pares_events **events_out);

/**
 * Takes the next event and hands it out.
 *
 * Blocks until there is one, at most `timeout_ms`; with 0 not at all.
 *
 * @return PARES_OK; PARES_DEADLINE: there is none yet; PARES_END: there will be none any more
 */
pares_result pares_events_next(pares_events *events, uint64_t timeout_ms,
                               const pares_event **event_out);

/**
 * Puts a descriptor for select(), poll() and their like into `descriptor_out`: it is readable
 * exactly while pares_events_next() would not wait, because there is an event or the end has come.
 *
 * It is the library's, the same each time, and lives until `events` is closed: do not read, write
 * or close it.
 *
 * @return PARES_OK; PARES_IO: there is no descriptor left
 */
pares_result pares_events_descriptor(pares_events *events, int *descriptor_out);

/** Ends a subscription, and frees the handle. Who waits in pares_events_next() gets PARES_END. */
pares_result pares_events_close(pares_events *events);

/** The word for a pares_event_kind, as "permit-lost". Never NULL. Not to be freed. */
const char *pares_event_kind_name(int kind);

/* -------------------------------------------------------------------------------------------------
 * registry */

/** What the registry knows of one instance. */
typedef struct pares_entry {
    const char *name;
    /** A random number of this life of the instance, which tells it from a later one of the same
     * name. */
    uint64_t id;
    /** When it first joined, in milliseconds since 1970-01-01 UTC. */
    uint64_t joined_ms;
    uint32_t pid;
    uint32_t uid;
    /** The port of its admin endpoint on 127.0.0.1. */
    uint32_t admin_port;
    /** A pares_role. */
    int role;
    size_t meta_count;
    const char *const *meta_keys;
    const char *const *meta_values;
    size_t function_count;
    /** Its admin functions, in alphabetical order. */
    const char *const *functions;
} pares_entry;

/** The registry at one moment. */
typedef struct pares_listing {
    /** The number of the present supervisorship. */
    uint64_t term;
    /** 0 as long as survivors of the last election may still be missing, else 1. */
    int settled;
    const char *supervisor;
    size_t count;
    /** In the order of their names. */
    const pares_entry *const *entries;
} pares_listing;

/** Why the last election took place. */
typedef enum pares_election_cause {
    /** The supervisor was the first one there. */
    PARES_ELECTED_FIRST = 1,
    /** The supervisor before it died. */
    PARES_ELECTED_AFTER_DEATH = 2,
    /** The supervisor before it stepped down. */
    PARES_ELECTED_AFTER_STEP_DOWN = 3,
    /** The supervisor before it left the group. */
    PARES_ELECTED_AFTER_LEAVE = 4
} pares_election_cause;

/** The state of a group, as its supervisor sees it. */
typedef struct pares_status {
    const char *group;
    const char *supervisor;
    uint64_t term;
    /** How many instances the registry has, the supervisor included. */
    uint64_t members;
    /** When the supervisor was elected, in milliseconds since 1970-01-01 UTC. */
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
 * Lists all instances, and hands the list out. Blocks for one round trip to the supervisor, at most
 * `timeout_ms`.
 *
 * @return as for asking
 */
pares_result pares_registry_list(pares_instance *instance, uint64_t timeout_ms,
                                 const pares_listing **listing_out);

/**
 * Looks one instance up by its unique name ("main": the supervisor), and hands out a list that has
 * just this one. Blocks like pares_registry_list().
 *
 * @return as for asking; PARES_NO_SUCH_INSTANCE: none of this name, though as long as the registry
 * is not settled it may still come back
 */
pares_result pares_registry_look_up(pares_instance *instance, const char *name, uint64_t timeout_ms,
                                    const pares_listing **listing_out);

/** Hands out the state of the group. Blocks like pares_registry_list(). Returns as for asking. */
pares_result pares_registry_status(pares_instance *instance, uint64_t timeout_ms,
                                   const pares_status **status_out);

/* -------------------------------------------------------------------------------------------------
 * permits, tallies, limits */

/** Units of a resource, counted once for the whole machine. They come back when it is freed or this
 * process ends. */
typedef struct pares_permit pares_permit;

/** This instance's count of a resource, summed over all instances. */
typedef struct pares_tally pares_tally;

/** One resource, as the supervisor sees it at one moment. */
typedef struct pares_usage {
    const char *resource;
    /** 0 if nobody has declared it: then there is no `limit`. */
    int has_limit;
    uint64_t limit;
    /** Units held by permits and counted by tallies. */
    uint64_t in_use;
    /** Requests that wait. */
    uint64_t waiting;
    size_t holder_count;
    const char *const *holder_names;
    const uint64_t *holder_units;
} pares_usage;

/** Several of them, in the order of their names. */
typedef struct pares_usages {
    size_t count;
    const pares_usage *const *usages;
} pares_usages;

/**
 * Acquires `units` (1 to 2^38) of a resource. Whoever has asked first is served first, also across
 * elections.
 *
 * Blocks until they are granted, at most `timeout_ms`; then the request is withdrawn.
 *
 * @param permit_out  receives a handle, to be freed with pares_permit_release()
 *
 * @return PARES_OK, or, with nothing held: PARES_DEADLINE, PARES_OVER_LIMIT,
 * PARES_UNKNOWN_RESOURCE, PARES_TOO_MANY, PARES_STOPPED
 */
pares_result pares_acquire(pares_instance *instance, const char *resource, uint64_t units,
                           uint64_t timeout_ms, pares_permit **permit_out);

/**
 * The same, if they can be had at once: PARES_EXHAUSTED if not, or if others wait for them. Blocks
 * for one round trip to the supervisor, at most 5 s.
 */
pares_result pares_try_acquire(pares_instance *instance, const char *resource, uint64_t units,
                               pares_permit **permit_out);

/** Puts the permit's number into `id_out`, by which PARES_EVENT_PERMIT_LOST names it. */
pares_result pares_permit_id(const pares_permit *permit, uint64_t *id_out);

/**
 * 1 if the permit is held. 0 once it was taken away or its instance has left; also while others may
 * have been given what it holds (it was without a supervisor for longer than the settle time, or
 * was cut off) and no settled supervisor has confirmed it since; also for a bad handle.
 */
int pares_permit_is_valid(const pares_permit *permit);

/** Gives the units back and frees the handle. */
pares_result pares_permit_release(pares_permit *permit);

/**
 * Begins to count a resource that is used without asking. The count of all instances counts against
 * its limit.
 *
 * @param tally_out receives a handle, to be freed with pares_tally_free(). All tallies of one
 * resource in one instance are the same count.
 *
 * @return PARES_OK; PARES_TOO_MANY: the instance counts 64 other resources
 */
pares_result pares_tally_open(pares_instance *instance, const char *resource,
                              pares_tally **tally_out);

/** Counts `units` more, and puts the instance's new count into `count_out`, which may be NULL. */
pares_result pares_tally_add(pares_tally *tally, uint64_t units, uint64_t *count_out);

/** Counts `units` less, down to 0, and puts the instance's new count into `count_out`, which may be
 * NULL. */
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

/** Frees the handle; the count stays. */
pares_result pares_tally_free(pares_tally *tally);

/**
 * Hands out who uses how much of `resource`, or of all resources if it is NULL. Blocks for one
 * round trip to the supervisor, at most `timeout_ms`.
 *
 * @return as for asking; PARES_UNKNOWN_RESOURCE
 */
pares_result pares_usage_list(pares_instance *instance, const char *resource, uint64_t timeout_ms,
                              const pares_usages **usages_out);

/**
 * Changes a resource's limit, for all instances, until it is changed again. Nothing is taken away
 * from its holders. Blocks until all connected instances have been told, at most `timeout_ms`.
 *
 * @return as for asking; PARES_UNKNOWN_RESOURCE
 */
pares_result pares_set_limit(pares_instance *instance, const char *resource, uint64_t limit,
                             uint64_t timeout_ms);

/**
 * Takes all permits of `resource` away from the instance `holder` ("main": the supervisor), and
 * puts into `permits_out`, which may be NULL, how many they were. Blocks for one round trip, at
 * most `timeout_ms`.
 *
 * @return as for asking; PARES_UNKNOWN_RESOURCE, PARES_NO_SUCH_INSTANCE
 */
pares_result pares_revoke(pares_instance *instance, const char *resource, const char *holder,
                          uint64_t timeout_ms, uint64_t *permits_out);

/* -------------------------------------------------------------------------------------------------
 * settings and messages */

/** All settings, in the order of their keys. */
typedef struct pares_settings {
    size_t count;
    const char *const *keys;
    /** Each may have a NUL within its `value_bytes`; one more follows them. */
    const char *const *values;
    const size_t *value_bytes;
} pares_settings;

/**
 * Hands out a setting as this instance knows it, with a NUL after it. Needs no supervisor.
 *
 * @param value_bytes_out  receives its size without that NUL; may be NULL
 *
 * @return PARES_OK; PARES_NOT_FOUND: it is not set
 */
pares_result pares_setting_get(const pares_instance *instance, const char *key,
                               const char **value_out, size_t *value_bytes_out);

/**
 * Sets a setting for all instances: a key of 1 to 64 bytes without white space or control
 * characters, a value up to 16 KiB. It survives the supervisor. Blocks until it was written to all
 * instances, at most `timeout_ms`.
 *
 * @return as for asking; PARES_TOO_MANY: 256 settings, or 64 KiB of them, are all there may be
 */
pares_result pares_setting_set(pares_instance *instance, const char *key, const char *value,
                               uint64_t timeout_ms);

/** Removes a setting, if it is set. Blocks and returns as pares_setting_set(). */
pares_result pares_setting_unset(pares_instance *instance, const char *key, uint64_t timeout_ms);

/**
 * Sets a setting if it is `expected` (NULL: if it is not set). Blocks and returns as
 * pares_setting_set(), and:
 *
 * @return PARES_CHANGED: it is something else, which is handed out through `present_out`, NULL if
 * it is not set
 *
 * @param present_out  may be NULL
 */
pares_result pares_setting_compare_and_set(pares_instance *instance, const char *key,
                                           const char *expected, const char *value,
                                           uint64_t timeout_ms, const char **present_out);

/** Hands out all settings, as this instance knows them. Needs no supervisor. */
pares_result pares_setting_list(const pares_instance *instance,
                                const pares_settings **settings_out);

/**
 * Sends a message of up to 64 KiB to all instances, this one included, and puts into
 * `receivers_out`, which may be NULL, how many that are. All get the messages of one supervisorship
 * in one order, each at most once. A topic is like the key of a setting. Blocks for one round trip
 * to the supervisor, at most `timeout_ms`.
 *
 * @return as for asking
 */
pares_result pares_broadcast(pares_instance *instance, const char *topic, const void *payload,
                             size_t payload_bytes, uint64_t timeout_ms, uint64_t *receivers_out);

/**
 * The same to the instance `name` ("main": the supervisor).
 *
 * @return as for asking; PARES_NO_SUCH_INSTANCE; PARES_BEHIND: it does not take its messages
 */
pares_result pares_send(pares_instance *instance, const char *name, const char *topic,
                        const void *payload, size_t payload_bytes, uint64_t timeout_ms);

#ifdef __cplusplus
}
#endif

#endif
