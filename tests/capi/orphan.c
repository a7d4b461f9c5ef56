/* A supervisor whose forked child lives on, with the library and all memory of its parent in it,
 * until its input ends. */
#include "check.h"

#include <sys/types.h>

int main(int count, char **arguments)
{
    const uint16_t port = begin(count, arguments);
    pares_instance *parent = join(port, "parent");
    const pid_t pid = fork();
    CHECK(pid >= 0 && pares_instance_is_supervisor(parent) == (pid != 0));
    if (pid == 0) {
        char byte;
        while (read(0, &byte, 1) > 0) {
        }
        _exit(0);
    }
    printf("forked %ld\n", (long)pid);
    fflush(stdout);
    pause();
    return 0;
}
