/* An address at which the programs of the tests listen, and connecting to it. */
#ifndef ADDRESS_H
#define ADDRESS_H

#include "check.h"

#include <pares_listener.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

static struct sockaddr_in where;
static char address[32];

/* The test has seen to it that nobody else uses the port. */
static inline void find_address(void)
{
    const char *const port = getenv("CAPI_OTHER_PORT");
    CHECK(port != NULL);
    where.sin_family = AF_INET;
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    where.sin_port = htons((uint16_t)atoi(port));
    snprintf(address, sizeof address, "127.0.0.1:%s", port);
}

/* Connects; -1 if nobody listens. */
static inline int visit(void)
{
    const int client = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(client, (struct sockaddr *)&where, sizeof where) == 0)
        return client;
    CHECK(errno == ECONNREFUSED);
    close(client);
    return -1;
}

#endif
