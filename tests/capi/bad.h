/* What the programs that do everything wrong have in common: handles that are none. C99. */
#ifndef BAD_H
#define BAD_H

#include "check.h"

#include <stdint.h>

#define MOST_HANDLES 8

/* Handles of every kind but the right one: freed, never given, no handles at all. */
static void *bad[MOST_HANDLES];
static size_t bad_count;

/* `call` with NULL for its handle, then with each bad one; `H` stands for the handle. */
#define REFUSES_HANDLES(type, call)                                                                \
    do {                                                                                           \
        size_t at;                                                                                 \
        type *H = NULL;                                                                            \
        GIVES(PARES_NULL_ARGUMENT, call);                                                          \
        for (at = 0; at < bad_count; at++) {                                                       \
            H = (type *)bad[at];                                                                   \
            GIVES(PARES_BAD_HANDLE, call);                                                         \
        }                                                                                          \
    } while (0)

/* The same for what frees its handle, and NULL. */
#define FREES_ONLY_ITS_OWN(type, call)                                                             \
    do {                                                                                           \
        size_t at;                                                                                 \
        type *H = NULL;                                                                            \
        OK(call);                                                                                  \
        for (at = 0; at < bad_count; at++) {                                                       \
            H = (type *)bad[at];                                                                   \
            GIVES(PARES_BAD_HANDLE, call);                                                         \
        }                                                                                          \
    } while (0)

static int freed;

static inline void count_free(void *user)
{
    (void)user;
    freed++;
}

/* Joins an instance, which is handed out, and fills `bad`. */
static inline pares_instance *collect_bad(uint16_t port)
{
    static int not_a_handle;
    pares_instance *instance = join(port, "one"), *gone = join(port, "gone");
    pares_events *events = NULL;
    const char *name = NULL;
    OK(pares_events_open(gone, &events));
    OK(pares_events_close(events));
    OK(pares_leave(gone));
    OK(pares_instance_name(instance, &name));
    bad[bad_count++] = gone;                 /* freed */
    bad[bad_count++] = events;               /* freed, of another type */
    bad[bad_count++] = &not_a_handle;        /* an address */
    bad[bad_count++] = (void *)(uintptr_t)1; /* nothing */
    bad[bad_count++] = (void *)(uintptr_t)UINTPTR_MAX;
    bad[bad_count++] = (void *)((uintptr_t)instance + 1);
    OK(pares_free(name));
    bad[bad_count++] = (void *)(uintptr_t)name; /* memory that was handed out, and freed */
    CHECK(bad_count <= MOST_HANDLES);
    return instance;
}

#endif
