/*
 * A pre-fork server. The parent forks children and replaces a child that dies. Each child is an
 * instance; all of them share one listening socket, and exactly one does the work that only one may
 * do.
 *
 *     cc -Iinclude examples/prefork.c -lpares -o prefork
 *     ./prefork 3 21001 8080       pares -g prefork -p 21001 listeners
 *
 * The parent has neither the socket nor a part in the group: it may be killed and started anew, and
 * connections that wait are not lost as long as one child lives. A second server with the same
 * ports shares the socket, too: start it, then end the first, and nobody is refused.
 */
#include <pares_listener.h>

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST_CHILDREN 64

static void check(pares_result result, const char *what)
{
    if (result == PARES_OK)
        return;
    fprintf(stderr, "%s: %s: %s\n", what, pares_result_name(result), pares_last_error());
    _exit(1);
}

/* The work that only one of the children may do. */
static void keep_house(const pares_guard *guard, void *name)
{
    uint64_t term = 0;
    pares_guard_term(guard, &term);
    printf("keeping house: %s, term %llu\n", (const char *)name, (unsigned long long)term);
    while (!pares_guard_wait(guard, 60000)) { /* once a minute: drop old sessions */
    }
}

/* Accepts and answers what waits in turn. */
static void answer_all(pares_listener *listener, const char *name)
{
    int client = -1;
    pares_result result;
    while ((result = pares_listener_accept(listener, 0, &client)) == PARES_OK) {
        char answer[64];
        const int size = snprintf(answer, sizeof answer, "hello from %s\n", name);
        send(client, answer, (size_t)size, MSG_NOSIGNAL);
        close(client);
    }
    if (result != PARES_DEADLINE && result != PARES_END)
        fprintf(stderr, "%s: %s\n", name, pares_last_error());
}

/* Serves until the parent ends: no other process holds the other end of `parent`. */
static void serve(const char *address, int parent, unsigned slot, uint16_t port)
{
    char name[48];
    pares_config *config = NULL;
    pares_instance *self = NULL;
    pares_listener *listener = NULL;
    pares_job *job = NULL;
    struct pollfd waits[2];
    snprintf(name, sizeof name, "server-%u-%ld", slot, (long)getppid());
    check(pares_config_new("prefork", &config), "configure");
    check(pares_config_name(config, name), "name");
    check(pares_config_port(config, port), "port");
    check(pares_join(config, &self), "join");
    check(pares_config_free(config), "free");
    check(pares_while_supervisor(self, keep_house, name, NULL, &job), "job");

    check(pares_listen(self, address, 0, PARES_POLICY_DEFAULT, 0, 0, 60000, &listener), "listen");
    printf("%s serves\n", name);

    check(pares_listener_fd(listener, &waits[0].fd), "poll");
    waits[1].fd = parent;
    waits[0].events = waits[1].events = POLLIN;
    while (!pares_listener_is_drained(listener)) {
        if (poll(waits, 2, -1) < 0)
            continue;
        if (waits[1].revents != 0)
            break;
        answer_all(listener, name);
    }
    check(pares_listener_free(listener), "free");
    check(pares_job_end(job), "end");
    check(pares_leave(self), "leave");
}

/* Forks the child of a slot and returns its pid. */
static pid_t start(const char *address, const int *ends, unsigned slot, uint16_t port)
{
    const pid_t pid = fork();
    if (pid == 0) {
        close(ends[1]); /* the parent's end: when it closes it, or dies, this child ends */
        serve(address, ends[0], slot, port);
        fflush(stdout);
        _exit(0);
    }
    if (pid > 0)
        printf("started child %u, pid %ld\n", slot, (long)pid);
    return pid;
}

int main(int count, char **arguments)
{
    const unsigned children = count == 4 ? (unsigned)atoi(arguments[1]) : 0;
    const uint16_t port = count == 4 ? (uint16_t)atoi(arguments[2]) : 0;
    char address[32];
    pid_t pids[MOST_CHILDREN];
    sigset_t signals;
    unsigned slot;
    int ends[2], signal = 0;
    if (children == 0 || children > MOST_CHILDREN) {
        fprintf(stderr, "usage: %s CHILDREN GROUP-PORT PORT\n", arguments[0]);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    snprintf(address, sizeof address, "127.0.0.1:%s", arguments[3]);
    if (pipe(ends) != 0) {
        perror("prefork");
        return 1;
    }

    /* The parent takes its signals one at a time, between other work. The children inherit the
     * blocked signals. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    for (slot = 0; slot < children; slot++)
        pids[slot] = start(address, ends, slot, port);
    while (sigwait(&signals, &signal) == 0 && signal == SIGCHLD) {
        pid_t gone;
        while ((gone = waitpid(-1, NULL, WNOHANG)) > 0) {
            for (slot = 0; slot < children; slot++) {
                if (pids[slot] == gone)
                    pids[slot] = start(address, ends, slot, port);
            }
        }
    }
    close(ends[1]); /* all children see that it closed */
    while (waitpid(-1, NULL, 0) > 0) {
    }
    printf("all have left\n");
    return 0;
}
