/* One listener for all: every function of pares_listener.h, and whatever a program does wrong with
 * it. */
#include "bad.h"

#include "address.h"

static void *wait_for_end(void *listener)
{
    int client;
    GIVES(PARES_END, pares_listener_accept((pares_listener *)listener, PARES_FOR_EVER, &client));
    return NULL;
}

static void share(pares_instance *instance)
{
    pares_listener *listener = NULL;
    pthread_t waits;
    char byte = 0;
    int client, served, polled, socket_copy;
    OK(pares_listen(instance, address, 0, PARES_POLICY_DEFAULT, 0, 0, PATIENCE_MS, &listener));
    client = visit();
    OK(pares_listener_accept(listener, PATIENCE_MS, &served));
    CHECK(write(served, "x", 1) == 1);
    CHECK(read(client, &byte, 1) == 1 && byte == 'x');
    GIVES(PARES_DEADLINE, pares_listener_wait_closed(listener, 1));
    close(served);
    OK(pares_listener_closed(listener));
    OK(pares_listener_wait_closed(listener, PATIENCE_MS));
    close(client);

    OK(pares_listener_fd(listener, &polled));
    client = visit();
    do {
        CHECK(readable(polled, PATIENCE_MS) == 1);
    } while (pares_listener_accept(listener, 0, &served) == PARES_DEADLINE);
    close(served);
    OK(pares_listener_closed(listener));
    close(client);

    OK(pares_listener_socket(listener, &socket_copy));
    close(socket_copy);
    CHECK(!pares_listener_is_drained(listener));
    CHECK(pthread_create(&waits, NULL, wait_for_end, listener) == 0);
    OK(pares_listener_drain(listener));
    CHECK(pthread_join(waits, NULL) == 0);
    CHECK(pares_listener_is_drained(listener));
    GIVES(PARES_END, pares_listener_accept(listener, 0, &served));
    OK(pares_listener_free(listener));
    OK(pares_listener_free(NULL));
}

static void misuse(pares_instance *instance)
{
    pares_listener *listener;
    int number;
    REFUSES_HANDLES(pares_instance,
                    pares_listen(H, address, 0, PARES_POLICY_EVEN, 0, 0, 0, &listener));
    REFUSES_HANDLES(pares_listener, pares_listener_accept(H, 0, &number));
    REFUSES_HANDLES(pares_listener, pares_listener_closed(H));
    REFUSES_HANDLES(pares_listener, pares_listener_fd(H, &number));
    REFUSES_HANDLES(pares_listener, pares_listener_socket(H, &number));
    REFUSES_HANDLES(pares_listener, pares_listener_drain(H));
    REFUSES_HANDLES(pares_listener, pares_listener_wait_closed(H, 0));
    FREES_ONLY_ITS_OWN(pares_listener, pares_listener_free(H));
    CHECK(pares_listener_is_drained(NULL));

    GIVES(PARES_INVALID, pares_listen(instance, "here", 0, PARES_POLICY_EVEN, 0, 0, 0, &listener));
    GIVES(PARES_INVALID,
          pares_listen(instance, "127.0.0.1:0", 0, PARES_POLICY_EVEN, 0, 0, 0, &listener));
    GIVES(PARES_INVALID, pares_listen(instance, address, 0, (pares_policy)9, 0, 0, 0, &listener));
    GIVES(PARES_NULL_ARGUMENT,
          pares_listen(instance, NULL, 0, PARES_POLICY_EVEN, 0, 0, 0, &listener));
    GIVES(PARES_NULL_ARGUMENT,
          pares_listen(instance, address, 0, PARES_POLICY_EVEN, 0, 0, 0, NULL));
    GIVES(PARES_NOT_HERE,
          pares_listen(instance, "192.0.2.1:80", 0, PARES_POLICY_EVEN, 0, 0, PATIENCE_MS,
                       &listener));
    OK(pares_listen(instance, address, 1, PARES_POLICY_CONNECTIONS, 1, 1, PATIENCE_MS, &listener));
    {
        pares_listener *other;
        GIVES(PARES_INVALID,
              pares_listen(instance, address, 0, PARES_POLICY_EVEN, 0, 0, 0, &other));
    }
    GIVES(PARES_NULL_ARGUMENT, pares_listener_accept(listener, 0, NULL));
    GIVES(PARES_NULL_ARGUMENT, pares_listener_fd(listener, NULL));
    GIVES(PARES_NULL_ARGUMENT, pares_listener_socket(listener, NULL));
    OK(pares_listener_closed(listener)); /* once too often harms nobody */
    /* Free while the instance has left. */
    OK(pares_leave(instance));
    GIVES(PARES_STOPPED, pares_listener_accept(listener, PATIENCE_MS, &number));
    OK(pares_listener_free(listener));
}

int main(int count, char **arguments)
{
    pares_instance *instance = collect_bad(begin(count, arguments));
    find_address();
    share(instance);
    misuse(instance);
    puts("done");
    return 0;
}
