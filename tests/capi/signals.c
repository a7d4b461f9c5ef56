/* The library's threads take none of the program's signals, whatever the program does with them
 * after it has joined; and what its callbacks start has the mask of the thread that joined. */
#include "check.h"

#include <errno.h>
#include <signal.h>
#include <sys/select.h>

/* What a child of this thread blocks, as the kernel says it. */
static unsigned long long mask_of_child(void)
{
    char line[64] = "";
    FILE *child = popen("exec grep SigBlk /proc/self/status", "r");
    CHECK(child != NULL && fgets(line, sizeof line, child) != NULL &&
          strncmp(line, "SigBlk:", 7) == 0);
    CHECK(pclose(child) == 0);
    return strtoull(line + 7, NULL, 16);
}

static void function(pares_reply *reply, const void *payload, size_t bytes, void *user)
{
    const unsigned long long mask = mask_of_child();
    (void)payload, (void)bytes, (void)user;
    OK(pares_reply_set(reply, &mask, sizeof mask));
}

static int wanted[2];

static void job(const pares_guard *guard, void *user)
{
    const unsigned long long mask = mask_of_child();
    (void)user;
    CHECK(write(wanted[1], &mask, sizeof mask) == sizeof mask);
    CHECK(pares_guard_wait(guard, PARES_FOR_EVER) == 1);
}

static unsigned long long mask_in_job(void)
{
    unsigned long long mask;
    CHECK(read(wanted[0], &mask, sizeof mask) == sizeof mask);
    return mask;
}

static unsigned long long mask_in_function(pares_instance *asker, const char *name)
{
    const void *result = NULL;
    size_t bytes = 0;
    unsigned long long mask;
    OK(pares_call(asker, name, "mask", NULL, 0, PATIENCE_MS, &result, &bytes));
    CHECK(bytes == sizeof mask);
    memcpy(&mask, result, sizeof mask);
    OK(pares_free(result));
    return mask;
}

static pares_instance *join_with_function(uint16_t port, const char *name)
{
    pares_config *config = new_config(port, name);
    pares_instance *instance = NULL;
    OK(pares_config_function(config, "mask", "the mask of a child", function, NULL, NULL));
    OK(pares_config_hang_timeout(config, 10000));
    OK(pares_join(config, &instance));
    OK(pares_config_free(config));
    return instance;
}

static volatile sig_atomic_t taken;

static void take(int number)
{
    (void)number;
    taken++;
}

/* Those that a thread brings upon itself, those that nobody can block, and what the C library and
 * valgrind keep for themselves. */
static int is_the_programs(int number)
{
    static const int OTHERS[] = {SIGSEGV, SIGBUS,  SIGILL,  SIGFPE, SIGABRT,
                                 SIGSYS,  SIGTRAP, SIGKILL, SIGSTOP};
    size_t i;
    for (i = 0; i < sizeof OTHERS / sizeof *OTHERS; i++)
        if (number == OTHERS[i])
            return 0;
    return number < 32 || (number >= SIGRTMIN && number < SIGRTMAX);
}

int main(int count, char **arguments)
{
    const uint16_t port = begin(count, arguments);
    const unsigned long long usr2 = 1ULL << (SIGUSR2 - 1);
    struct sigaction action;
    sigset_t all, former;
    pares_instance *one, *two;
    pares_peer *peer;
    pares_job *jobs;
    int number, tried = 0;

    CHECK(pipe(wanted) == 0);
    sigemptyset(&all);
    sigaddset(&all, SIGUSR2);
    CHECK(pthread_sigmask(SIG_BLOCK, &all, NULL) == 0);
    one = join_with_function(port, "one");
    two = join_with_function(port, "two");
    peer = join_peer(port, 100);
    OK(pares_while_supervisor(one, job, NULL, NULL, &jobs));

    /* What callbacks start is as what the program itself starts. */
    CHECK(mask_of_child() == usr2 && mask_in_job() == usr2);
    CHECK(mask_in_function(two, "one") == usr2 && mask_in_function(one, "two") == usr2);
    OK(pares_job_end(jobs));

    /* No thread is in a callback now, and so none has another mask than all. */
    sigfillset(&all);
    CHECK(pthread_sigmask(SIG_BLOCK, &all, &former) == 0);
    for (number = 1; number < SIGRTMAX; number++) {
        const struct timespec patience = {PATIENCE_MS / 1000, 0};
        sigset_t this;
        if (!is_the_programs(number))
            continue;
        sigemptyset(&this);
        sigaddset(&this, number);
        CHECK(kill(getpid(), number) == 0);
        CHECK(sigtimedwait(&this, NULL, &patience) == number);
        tried++;
    }
    CHECK(tried > 50);

    memset(&action, 0, sizeof action);
    action.sa_handler = take;
    CHECK(sigaction(SIGTERM, &action, NULL) == 0);
    for (number = 1; number <= 100; number++) {
        const struct timespec patience = {PATIENCE_MS / 1000, 0};
        CHECK(kill(getpid(), SIGTERM) == 0 && taken == number - 1);
        CHECK(pselect(0, NULL, NULL, NULL, &patience, &former) == -1 && errno == EINTR &&
              taken == number);
    }
    CHECK(pthread_sigmask(SIG_SETMASK, &former, NULL) == 0);

    OK(pares_peer_leave_at_once(peer));
    OK(pares_leave(two));
    OK(pares_leave(one));
    puts("done");
    return 0;
}
