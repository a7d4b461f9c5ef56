/*
 * A pre-fork server. The parent opens the port, forks children, which all accept connections from
 * it, and replaces a child that dies. Each child is an instance, and exactly one of them does the
 * work that only one may do.
 *
 *     cc -Iinclude examples/prefork.c -lpares -o prefork
 *     ./prefork 3 21001       pares -g prefork -p 21001 ls
 *
 * The parent does not join, but it could: its children inherit none of its handles and join by
 * themselves.
 */
#include <pares.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
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

/* Serves until the parent ends: no other process holds the other end of `parent`. */
static void serve(int listener, int parent, unsigned slot, uint16_t port)
{
    char name[32];
    pares_config *config = NULL;
    pares_instance *self = NULL;
    pares_job *job = NULL;
    struct pollfd waits[2];
    snprintf(name, sizeof name, "server-%u", slot);
    check(pares_config_new("prefork", &config), "configure");
    check(pares_config_name(config, name), "name");
    check(pares_config_port(config, port), "port");
    check(pares_join(config, &self), "join");
    check(pares_config_free(config), "free");
    check(pares_while_supervisor(self, keep_house, name, NULL, &job), "job");

    waits[0].fd = listener;
    waits[1].fd = parent;
    waits[0].events = waits[1].events = POLLIN;
    for (;;) {
        if (poll(waits, 2, -1) < 0)
            continue;
        if (waits[1].revents != 0)
            break;
        if (waits[0].revents != 0) {
            const int client = accept(listener, NULL, NULL);
            if (client >= 0) { /* else another child was quicker: the listener does not block */
                char answer[64];
                const int size = snprintf(answer, sizeof answer, "hello from %s\n", name);
                send(client, answer, (size_t)size, MSG_NOSIGNAL);
                close(client);
            }
        }
    }
    check(pares_job_end(job), "end");
    check(pares_leave(self), "leave");
}

/* Forks the child of a slot and returns its pid. */
static pid_t start(int listener, const int *ends, unsigned slot, uint16_t port)
{
    const pid_t pid = fork();
    if (pid == 0) {
        close(ends[1]); /* the parent's end: when it closes it, or dies, this child ends */
        serve(listener, ends[0], slot, port);
        fflush(stdout);
        _exit(0);
    }
    if (pid > 0)
        printf("started server-%u, pid %ld\n", slot, (long)pid);
    return pid;
}

int main(int count, char **arguments)
{
    const unsigned children = count == 3 ? (unsigned)atoi(arguments[1]) : 0;
    const uint16_t port = count == 3 ? (uint16_t)atoi(arguments[2]) : 0;
    pid_t pids[MOST_CHILDREN];
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    sigset_t signals;
    unsigned slot;
    int ends[2], signal = 0;
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (children == 0 || children > MOST_CHILDREN) {
        fprintf(stderr, "usage: %s CHILDREN PORT\n", arguments[0]);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(listener, 128) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) != 0 ||
        fcntl(listener, F_SETFL, O_NONBLOCK) != 0 || pipe(ends) != 0) {
        perror("prefork");
        return 1;
    }
    printf("serving on port %u\n", ntohs(address.sin_port));

    /* The parent takes its signals one at a time, between other work. The children inherit the
     * blocked signals. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    for (slot = 0; slot < children; slot++)
        pids[slot] = start(listener, ends, slot, port);
    while (sigwait(&signals, &signal) == 0 && signal == SIGCHLD) {
        pid_t gone;
        while ((gone = waitpid(-1, NULL, WNOHANG)) > 0) {
            for (slot = 0; slot < children; slot++) {
                if (pids[slot] == gone)
                    pids[slot] = start(listener, ends, slot, port);
            }
        }
    }
    close(ends[1]); /* all children see that it closed */
    while (waitpid(-1, NULL, 0) > 0) {
    }
    printf("all have left\n");
    return 0;
}
