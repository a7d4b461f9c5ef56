/* A program that closes all descriptors, the library's too, as one does that makes itself a daemon:
 * the instance is over, and says so; leaving ends; nothing that the program opens afterwards is
 * touched; another takes the role; and it may join anew. */
#include "check.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>

/* Beyond what the library and the tests have open here. */
#define NUMBERS 1024

#define OWN 100

static const char CONTENT[] = "the program's own, and nobody else's";

static void say(int end)
{
    CHECK(write(end, "+", 1) == 1);
}

static void hear(int end)
{
    char byte;
    CHECK(read(end, &byte, 1) == 1);
}

/* Files and sockets in turn, on all numbers that are free now. */
struct own {
    int file, sockets[2];
};

static void open_own(struct own *own)
{
    char path[512];
    int at;
    CHECK(snprintf(path, sizeof path, "%s/own-%ld", getenv("PARES_DIR"), (long)getpid()) <
          (int)sizeof path);
    for (at = 0; at < OWN; at++) {
        CHECK((own[at].file = open(path, O_RDWR | O_CREAT | O_APPEND, 0600)) >= 0);
        CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, own[at].sockets) == 0);
        CHECK(write(own[at].sockets[0], "0", 1) == 1 && write(own[at].sockets[1], "1", 1) == 1);
    }
    CHECK(write(own[0].file, CONTENT, sizeof CONTENT) == sizeof CONTENT);
    CHECK(unlink(path) == 0);
}

/* All are open, in the place where they were, and have what they had. */
static void check_own(const struct own *own)
{
    char content[2 * sizeof CONTENT];
    int at;
    CHECK(pread(own[0].file, content, sizeof content, 0) == sizeof CONTENT &&
          strcmp(content, CONTENT) == 0);
    for (at = 0; at < OWN; at++) {
        CHECK(lseek(own[at].file, 0, SEEK_CUR) == (at == 0 ? (off_t)sizeof CONTENT : 0));
        CHECK(recv(own[at].sockets[0], content, sizeof content, MSG_DONTWAIT) == 1 &&
              content[0] == '1');
        CHECK(recv(own[at].sockets[1], content, sizeof content, MSG_DONTWAIT) == 1 &&
              content[0] == '0');
    }
}

static void job(const pares_guard *guard, void *user)
{
    (void)user;
    CHECK(pares_guard_wait(guard, PARES_FOR_EVER) == 1);
}

/* How the program closes its descriptors: all, one after the other; all, and then it leaves at
 * once; or those that it takes for few, or for foreign. */
enum { UPWARDS, DOWNWARDS, AND_LEAVE, ONLY_LOW, ONLY_SOCKETS, WAYS };

static void close_all(int way)
{
    int number;
    /* Nothing tells when the library's threads are done with what went before. One that is not may
     * meet a number that is the program's by then, as the header says. */
    poll(NULL, 0, 200);
    for (number = 3; number < (way == ONLY_LOW ? 64 : NUMBERS); number++) {
        struct sockaddr_storage address;
        socklen_t size = sizeof address;
        if (way == DOWNWARDS)
            close(NUMBERS + 2 - number);
        else if (way != ONLY_SOCKETS ||
                 getsockname(number, (struct sockaddr *)&address, &size) == 0)
            close(number);
    }
}

/* A child, forked at once, has all that the program has. */
static void check_child(const struct own *own)
{
    int status = 0;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        int at;
        for (at = 0; at < OWN; at++)
            if (fcntl(own[at].file, F_GETFD) < 0 || fcntl(own[at].sockets[0], F_GETFD) < 0 ||
                fcntl(own[at].sockets[1], F_GETFD) < 0)
                _exit(1);
        kill(getpid(), SIGKILL); /* so that nobody looks for leaks of its parent's in it */
    }
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
}

static struct own own[OWN];

static void closes(uint16_t port, int supervises, int way, int in, int out)
{
    pares_instance *instance;
    pares_permit *permit = NULL;
    pares_events *events;
    pares_job *running;
    const pares_event *event = NULL;
    int role = 0;
    if (!supervises)
        hear(in);
    instance = join(port, "closes");
    CHECK(pares_instance_is_supervisor(instance) == supervises);
    OK(pares_events_open(instance, &events));
    OK(pares_while_supervisor(instance, job, NULL, NULL, &running));
    OK(pares_acquire(instance, "seats", 1, PATIENCE_MS, &permit));
    say(out);
    hear(in);
    close_all(way);
    if (way != ONLY_SOCKETS) { /* of which nothing tells, until it leaves */
        open_own(own);
        check_child(own);
    }
    if (way != AND_LEAVE && way != ONLY_SOCKETS) {
        AWAIT((pares_instance_role(instance, &role), role) == PARES_ROLE_STOPPED);
        CHECK(pares_permit_is_valid(permit) == 0);
        event = await_event(events, PARES_EVENT_STOPPED);
        OK(pares_free(event));
        GIVES(PARES_END, pares_events_next(events, PATIENCE_MS, &event));
        GIVES(PARES_STOPPED, pares_acquire(instance, "seats", 1, PATIENCE_MS, &permit));
    }
    OK(pares_job_end(running));
    OK(pares_leave(instance));
    instance = join(port, "anew");
    OK(pares_instance_role(instance, &role));
    CHECK(role == PARES_ROLE_SUPERVISOR || role == PARES_ROLE_SUBORDINATE);
    OK(pares_leave(instance));
    if (way != ONLY_SOCKETS)
        check_own(own);
}

/* The same for a peer, which is primary. */
static void peer_closes(uint16_t port, int at_once)
{
    pares_peer *peer = join_peer(port, 10);
    pares_peer_events *events = NULL;
    const pares_peer_event *event;
    OK(pares_peer_events_open(peer, &events));
    await_peer_status(events, PARES_PEER_PRIMARY);
    close_all(UPWARDS);
    open_own(own);
    check_child(own);
    if (!at_once) {
        event = await_peer_event(events, PARES_PEER_EVENT_STOPPED);
        OK(pares_free(event));
        CHECK(pares_peer_lease_ok(peer) == 0);
    }
    OK(pares_peer_leave(peer));
    peer = join_peer(port, 20);
    OK(pares_peer_leave(peer));
    check_own(own);
}

/* Runs it in a process of its own. */
static void apart(void (*run)(uint16_t, int), uint16_t port, int how)
{
    int status = 0;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(LIFETIME);
        run(port, how);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static int count(pares_instance *instance)
{
    const pares_listing *listing = NULL;
    int members;
    OK(pares_registry_list(instance, PATIENCE_MS, &listing));
    members = (int)listing->count;
    OK(pares_free(listing));
    return members;
}

/* Sees the end of the other one at once, and takes the role where that had it. */
static void stays(uint16_t port, int supervises, int in, int out)
{
    pares_instance *instance;
    pares_events *events;
    if (!supervises)
        hear(in);
    instance = join(port, "stays");
    OK(pares_events_open(instance, &events));
    say(out);
    if (supervises) {
        hear(in);
        AWAIT(count(instance) == 2);
        say(out);
    } else {
        OK(pares_free(await_event(events, PARES_EVENT_SUPERVISOR)));
    }
    hear(in); /* it has gone */
    AWAIT(count(instance) == 1);
    OK(pares_leave(instance));
}

int main(int arguments_count, char **arguments)
{
    const uint16_t port = begin(arguments_count, arguments);
    int supervises, way;
    fflush(stdout);
    apart(peer_closes, port, 0);
    apart(peer_closes, port, 1);
    for (supervises = 0; supervises < 2; supervises++) {
        for (way = 0; way < WAYS; way++) {
            int to_closes[2], to_stays[2], status = 0;
            pid_t first, second;
            CHECK(pipe(to_closes) == 0 && pipe(to_stays) == 0);
            first = fork();
            CHECK(first >= 0);
            if (first == 0) {
                alarm(LIFETIME);
                closes(port, supervises, way, to_closes[0], to_stays[1]);
                _exit(0);
            }
            second = fork();
            CHECK(second >= 0);
            if (second == 0) {
                alarm(LIFETIME);
                stays(port, !supervises, to_stays[0], to_closes[1]);
                _exit(0);
            }
            CHECK(waitpid(first, &status, 0) == first);
            if (status != 0)
                fprintf(stderr, "supervises %d, way %d, ends with %d\n", supervises, way, status);
            CHECK(status == 0);
            say(to_stays[1]);
            CHECK(waitpid(second, &status, 0) == second && status == 0);
            close(to_closes[0]), close(to_closes[1]), close(to_stays[0]), close(to_stays[1]);
        }
    }
    puts("done");
    return 0;
}
