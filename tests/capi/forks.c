/* A forked child has none of its parent's handles, and is none the worse for it: also while all
 * locks are in use. */
#include "address.h"

#include <sys/types.h>
#include <sys/wait.h>

static volatile int busy = 1;

/* Keeps the library's locks in use, so that some are held when a child is made. */
static void *keep_busy(void *instance)
{
    while (busy) {
        const char *name = NULL;
        int role = 0;
        OK(pares_instance_name((pares_instance *)instance, &name));
        OK(pares_free(name));
        OK(pares_instance_role((pares_instance *)instance, &role));
    }
    return NULL;
}

/* The same of a peer. */
static void child_of_peer(uint16_t port, int number, pares_peer *peer, pares_peer_events *events)
{
    const pares_peer_event *event = NULL;
    const pares_token *token = NULL;
    pares_peer *own;
    int status = 0, descriptor;
    GIVES(PARES_FORKED, pares_peer_status(peer, &status));
    CHECK(status == 0 && pares_peer_lease_ok(peer) == 0);
    GIVES(PARES_FORKED, pares_peer_token(peer, &token));
    GIVES(PARES_FORKED, pares_peer_wait_admitted(peer, PARES_FOR_EVER));
    GIVES(PARES_FORKED, pares_peer_events_next(events, PARES_FOR_EVER, &event));
    GIVES(PARES_FORKED, pares_peer_events_descriptor(events, &descriptor));
    GIVES(PARES_FORKED, pares_peer_events_close(events));
    GIVES(PARES_FORKED, pares_peer_leave(peer));
    GIVES(PARES_FORKED, pares_peer_leave_at_once(peer));
    own = join_peer(port, 200);
    if (number == 0) { /* which takes a second */
        OK(pares_peer_wait_admitted(own, PATIENCE_MS));
        AWAIT(knows_primary(own));
    }
    OK(pares_peer_leave_at_once(own));
    GIVES(PARES_BAD_HANDLE, pares_peer_leave(own));
}

static void child(uint16_t port, int number, pares_instance *instance, pares_permit *permit,
                  pares_events *events, const char *text)
{
    char name[32];
    pares_instance *own;
    const pares_event *event = NULL;
    const pares_listing *listing = NULL;
    int role = 0, descriptor;
    alarm(LIFETIME);
    GIVES(PARES_FORKED, pares_instance_role(instance, &role));
    CHECK(strstr(pares_last_error(), "join anew") != NULL);
    CHECK(pares_instance_is_supervisor(instance) == 0 && pares_permit_is_valid(permit) == 0);
    GIVES(PARES_FORKED, pares_events_next(events, PARES_FOR_EVER, &event));
    GIVES(PARES_FORKED, pares_events_descriptor(events, &descriptor));
    GIVES(PARES_FORKED, pares_permit_release(permit));
    GIVES(PARES_FORKED, pares_events_close(events));
    GIVES(PARES_FORKED, pares_leave(instance));
    GIVES(PARES_FORKED, pares_free(text));
    CHECK(strcmp(text, "parent") == 0);

    snprintf(name, sizeof name, "child-%d", number);
    own = join(port, name);
    CHECK(pares_instance_is_supervisor(own) == 0);
    OK(pares_registry_look_up(own, "parent", PATIENCE_MS, &listing));
    CHECK(listing->entries[0]->pid == (uint32_t)getppid());
    OK(pares_free(listing));
    OK(pares_leave(own));
    GIVES(PARES_BAD_HANDLE, pares_leave(own));
}

/* A child that was forked has no part in its parent's listener, and does not keep it open. */
static void listener_in_child(uint16_t port)
{
    pares_instance *instance = join(port, "listens");
    pares_listener *listener = NULL;
    int ends[2], seen[2], status = -1, client;
    char byte = 'c';
    pid_t child;
    find_address();
    OK(pares_listen(instance, address, 0, PARES_POLICY_DEFAULT, 0, 0, PATIENCE_MS, &listener));
    CHECK(pipe(ends) == 0 && pipe(seen) == 0);
    child = fork();
    if (child == 0) {
        close(ends[1]);
        CHECK(write(seen[1], &byte, 1) == 1); /* it runs: what a fork closes is closed */
        GIVES(PARES_FORKED, pares_listener_accept(listener, 0, &client));
        CHECK(pares_listener_is_drained(listener));
        CHECK(read(ends[0], &byte, 1) == 0); /* until the parent has seen what it wants to see */
        _exit(0);
    }
    CHECK(read(seen[0], &byte, 1) == 1);
    OK(pares_listener_free(listener));
    OK(pares_leave(instance));
    CHECK(visit() == -1); /* nobody keeps it */
    close(ends[1]);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    close(ends[0]);
    close(seen[0]);
    close(seen[1]);
}

int main(int count, char **arguments)
{
    const uint16_t port = begin(count, arguments);
    pares_instance *parent = NULL;
    pares_permit *permit = NULL;
    pares_events *events = NULL;
    pares_peer *peer = join_peer(port, 100);
    pares_peer_events *peer_events = NULL;
    const char *text = NULL;
    pthread_t threads[8];
    const int children = atoi(getenv("CAPI_CHILDREN")), busy_threads = atoi(getenv("CAPI_BUSY"));
    int i;
    CHECK(busy_threads <= 8);
    listener_in_child(port); /* first: a supervisor keeps a listener for some seconds */
    parent = join(port, "parent");
    OK(pares_acquire(parent, "seats", 1, PATIENCE_MS, &permit));
    OK(pares_events_open(parent, &events));
    OK(pares_instance_name(parent, &text));
    OK(pares_peer_events_open(peer, &peer_events));
    await_peer_status(peer_events, PARES_PEER_PRIMARY);
    for (i = 0; i < busy_threads; i++)
        CHECK(pthread_create(&threads[i], NULL, keep_busy, parent) == 0);
    for (i = 0; i < children; i++) {
        int status = 0;
        const pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            child(port, i, parent, permit, events, text);
            child_of_peer(port, i, peer, peer_events);
            _exit(0);
        }
        CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    busy = 0;
    for (i = 0; i < busy_threads; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(pares_instance_is_supervisor(parent) == 1 && pares_permit_is_valid(permit) == 1);
    OK(pares_permit_release(permit));
    OK(pares_events_close(events));
    OK(pares_free(text));
    OK(pares_leave(parent));
    AWAIT(pares_peer_lease_ok(peer)); /* the children have taken its processor, perhaps */
    OK(pares_peer_leave(peer));
    OK(pares_peer_events_close(peer_events));
    puts("done");
    return 0;
}
