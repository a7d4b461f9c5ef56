/* Several threads on one handle, callbacks that call back, and leaving while others wait. */
#include "check.h"

#define THREADS 8

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t bell = PTHREAD_COND_INITIALIZER;
static int in_callback, freed;

static pares_instance *one, *two;

static void *in_thread(void *(*run)(void *), void *what, pthread_t *thread)
{
    CHECK(pthread_create(thread, NULL, run, what) == 0);
    return NULL;
}

/* Waits until all callers are in it at once: so it runs on several threads, and calls back
 * meanwhile. */
static void together(pares_reply *reply, const void *payload, size_t bytes, void *user)
{
    const pares_listing *listing = NULL;
    const void *answer = NULL;
    size_t size = 0;
    CHECK(user == &in_callback);
    pthread_mutex_lock(&lock);
    in_callback++;
    pthread_cond_broadcast(&bell);
    while (in_callback % THREADS != 0)
        pthread_cond_wait(&bell, &lock);
    pthread_mutex_unlock(&lock);
    OK(pares_registry_list(one, PATIENCE_MS, &listing));
    OK(pares_free(listing));
    OK(pares_call(two, "two", "ping", payload, bytes, PATIENCE_MS, &answer, &size));
    GIVES(PARES_IN_CALLBACK, pares_leave(one));
    GIVES(PARES_IN_CALLBACK, pares_step_down(one, PARES_FOR_EVER));
    OK(pares_reply_set(reply, answer, size));
    OK(pares_free(answer));
}

/* What does not answer before it is told to. */
static int stuck, release;

static void wait_for_release(pares_reply *reply, const void *payload, size_t bytes, void *user)
{
    (void)reply, (void)payload, (void)bytes, (void)user;
    pthread_mutex_lock(&lock);
    stuck++;
    pthread_cond_broadcast(&bell);
    while (!release)
        pthread_cond_wait(&bell, &lock);
    pthread_mutex_unlock(&lock);
}

static void count_free(void *user)
{
    (void)user;
    GIVES(PARES_IN_CALLBACK, pares_leave(one));
    freed++;
}

static void *call_together(void *text)
{
    const void *result = NULL;
    size_t bytes = 0;
    OK(pares_call(two, "one", "together", text, 2, PATIENCE_MS, &result, &bytes));
    CHECK(bytes == 2 && memcmp(result, text, 2) == 0);
    OK(pares_free(result));
    return NULL;
}

static pares_instance *join_with_functions(uint16_t port, const char *name)
{
    pares_config *config = new_config(port, name);
    pares_instance *instance = NULL;
    OK(pares_config_resource(config, "seats", 1));
    OK(pares_config_function(config, "together", NULL, together, &in_callback, count_free));
    OK(pares_config_function(config, "stuck", NULL, wait_for_release, NULL, NULL));
    OK(pares_join(config, &instance));
    OK(pares_config_free(config));
    return instance;
}

static void callbacks_on_several_threads(void)
{
    static char texts[THREADS][3];
    pthread_t threads[THREADS];
    int i;
    for (i = 0; i < THREADS; i++) {
        texts[i][0] = (char)('a' + i);
        texts[i][1] = 'x';
        in_thread(call_together, texts[i], &threads[i]);
    }
    for (i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(in_callback == THREADS);
}

/* A job that ends itself, and may not do what would wait for it. */
static pares_job *own_job;
static int jobs_done;

static void ends_itself(const pares_guard *guard, void *user)
{
    CHECK(user == NULL && pares_guard_should_stop(guard) == 0);
    pthread_mutex_lock(&lock);
    while (own_job == NULL)
        pthread_cond_wait(&bell, &lock);
    pthread_mutex_unlock(&lock);
    GIVES(PARES_IN_CALLBACK, pares_leave(one));
    GIVES(PARES_IN_CALLBACK, pares_step_down(one, PARES_FOR_EVER));
    OK(pares_job_end(own_job));
    CHECK(pares_guard_should_stop(guard) == 1);
    pthread_mutex_lock(&lock);
    jobs_done++;
    pthread_cond_broadcast(&bell);
    pthread_mutex_unlock(&lock);
}

static void a_job_ends_itself(void)
{
    pares_job *job = NULL;
    OK(pares_while_supervisor(one, ends_itself, NULL, NULL, &job));
    pthread_mutex_lock(&lock);
    own_job = job;
    pthread_cond_broadcast(&bell);
    while (jobs_done == 0)
        pthread_cond_wait(&bell, &lock);
    pthread_mutex_unlock(&lock);
    GIVES(PARES_BAD_HANDLE, pares_job_end(job));
}

/* Events are taken by several threads from one subscription, each event by one; it is closed under
 * them. */
static pares_events *shared;
static int taken;

static void *take_all(void *unused)
{
    (void)unused;
    for (;;) {
        const pares_event *event = NULL;
        const int result = pares_events_next(shared, PARES_FOR_EVER, &event);
        if (result == PARES_BAD_HANDLE || result == PARES_END)
            return NULL;
        OK(result);
        if (event->kind == PARES_EVENT_MESSAGE) {
            pthread_mutex_lock(&lock);
            taken++;
            pthread_cond_broadcast(&bell);
            pthread_mutex_unlock(&lock);
        }
        OK(pares_free(event));
    }
}

static void several_take_from_one_subscription(void)
{
    pthread_t threads[THREADS];
    int i, descriptor = -1;
    OK(pares_events_open(two, &shared));
    OK(pares_events_descriptor(shared, &descriptor));
    for (i = 0; i < THREADS; i++)
        in_thread(take_all, NULL, &threads[i]);
    for (i = 0; i < 100; i++)
        OK(pares_broadcast(one, "topic", &i, sizeof i, PATIENCE_MS, NULL));
    pthread_mutex_lock(&lock);
    while (taken != 100)
        pthread_cond_wait(&bell, &lock);
    pthread_mutex_unlock(&lock);
    {
        struct pollfd empty;
        empty.fd = descriptor;
        empty.events = POLLIN;
        empty.revents = 0;
        CHECK(poll(&empty, 1, 0) == 0);
    }
    OK(pares_events_close(shared));
    for (i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
}

/* Each waits for ever for something that does not come; then the instance leaves. */
static int waiting;

static void begin_to_wait(void)
{
    pthread_mutex_lock(&lock);
    waiting++;
    pthread_cond_broadcast(&bell);
    pthread_mutex_unlock(&lock);
}

static void *wait_for_permit(void *instance)
{
    pares_permit *permit = NULL;
    begin_to_wait();
    GIVES(PARES_STOPPED,
          pares_acquire((pares_instance *)instance, "seats", 1, PARES_FOR_EVER, &permit));
    CHECK(permit == NULL);
    return NULL;
}

static void *wait_for_call(void *instance)
{
    const void *result = NULL;
    size_t bytes = 0;
    begin_to_wait();
    GIVES(PARES_STOPPED, pares_call((pares_instance *)instance, "one", "stuck", "", 0,
                                    PARES_FOR_EVER, &result, &bytes));
    return NULL;
}

static void *wait_for_end(void *events)
{
    const pares_event *event = NULL;
    int result;
    begin_to_wait();
    while ((result = pares_events_next((pares_events *)events, PARES_FOR_EVER, &event)) == PARES_OK)
        OK(pares_free(event));
    CHECK(result == PARES_END);
    OK(pares_events_close((pares_events *)events));
    return NULL;
}

static void leaving_calls_all_away(void)
{
    pthread_t threads[3];
    pares_permit *permit = NULL, *none = NULL;
    pares_events *events = NULL;
    const pares_usages *usages = NULL;
    uint64_t queue = 0;
    int i;
    OK(pares_acquire(one, "seats", 1, PATIENCE_MS, &permit));
    OK(pares_events_open(two, &events));
    in_thread(wait_for_permit, two, &threads[0]);
    in_thread(wait_for_call, two, &threads[1]);
    in_thread(wait_for_end, events, &threads[2]);
    pthread_mutex_lock(&lock);
    while (waiting != 3 || stuck != 1)
        pthread_cond_wait(&bell, &lock);
    pthread_mutex_unlock(&lock);
    while (queue == 0) { /* until the request for the permit is known to wait */
        OK(pares_usage_list(one, "seats", PATIENCE_MS, &usages));
        queue = usages->usages[0]->waiting;
        OK(pares_free(usages));
    }
    OK(pares_leave(two));
    for (i = 0; i < 3; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    GIVES(PARES_BAD_HANDLE, pares_acquire(two, "seats", 1, 0, &none));
    pthread_mutex_lock(&lock);
    release = 1;
    pthread_cond_broadcast(&bell);
    pthread_mutex_unlock(&lock);
    OK(pares_permit_release(permit));
}

/* All free the same handle: one has done it. */
static pares_permit *contested;
static int releases;

static void *release_it(void *unused)
{
    const int result = pares_permit_release(contested);
    (void)unused;
    CHECK(result == PARES_OK || result == PARES_BAD_HANDLE);
    pthread_mutex_lock(&lock);
    releases += result == PARES_OK;
    pthread_mutex_unlock(&lock);
    return NULL;
}

static void one_frees_what_all_free(void)
{
    int round, i;
    for (round = 0; round < 10; round++) {
        pthread_t threads[THREADS];
        OK(pares_acquire(one, "seats", 1, PATIENCE_MS, &contested));
        for (i = 0; i < THREADS; i++)
            in_thread(release_it, NULL, &threads[i]);
        for (i = 0; i < THREADS; i++)
            CHECK(pthread_join(threads[i], NULL) == 0);
        CHECK(releases == round + 1);
    }
}

int main(int count, char **arguments)
{
    const uint16_t port = begin(count, arguments);
    one = join_with_functions(port, "one");
    two = join_with_functions(port, "two");
    callbacks_on_several_threads();
    a_job_ends_itself();
    several_take_from_one_subscription();
    one_frees_what_all_free();
    leaving_calls_all_away();
    CHECK(freed == 1);
    OK(pares_leave(one));
    CHECK(freed == 2);
    puts("done");
    return 0;
}
