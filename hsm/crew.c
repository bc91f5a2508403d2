/*
 * A round is a batch: members wait for its beginning, take items one after the
 * other until there are none or one of them met an error, and the last to come
 * back ends it. What a member writes into an item is the caller's to read
 * after that, by the mutex that all of them passed.
 */
#include "hsm/crew.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>

struct member {
	struct crew *crew;
	size_t index;
	pthread_t thread; /* but for the first, which is the caller */
	uint64_t round;   /* the last one it saw */
	struct work work;
	bool ready;  /* it has its keys */
	bool failed; /* and will not have them */
};

struct crew {
	struct token *token;
	struct rewrap_key old_key, new_key;
	struct member *member;
	size_t most, started;

	pthread_mutex_t mutex; /* of what follows */
	pthread_cond_t begun, ended;
	uint64_t round;
	bool over;
	size_t active, busy; /* members of this round; not yet back */
	size_t failed;
	struct rewrap_batch *batch;
	struct err_saved stop;

	atomic_size_t next; /* item */
	atomic_bool stopped;
	atomic_uint waits;
};

/* How often this thread gave the processor up by itself: between two items it
 * waits for nobody, so it was in a token call. */
static unsigned waits_so_far(void)
{
	struct rusage usage;

	return getrusage(RUSAGE_THREAD, &usage) == 0 ? (unsigned)usage.ru_nvcsw
						     : 0;
}

/* A PIN that is wrong must not be tried again for another's lesser error. */
static void stop_for(struct crew *crew, enum kt_err err)
{
	pthread_mutex_lock(&crew->mutex);
	if (crew->stop.err == KT_OK ||
	    (err == KT_ERR_PIN && crew->stop.err != KT_ERR_PIN))
		err_save(err, &crew->stop);
	pthread_mutex_unlock(&crew->mutex);
	atomic_store(&crew->stopped, true);
}

static void do_items(struct member *m)
{
	struct crew *crew = m->crew;
	const struct rewrap_batch *batch = crew->batch;
	unsigned waits = waits_so_far();
	size_t i;

	while (!atomic_load(&crew->stopped) &&
	       (i = atomic_fetch_add(&crew->next, 1)) < batch->count) {
		enum kt_err err =
			work_item(&m->work, batch->op, &batch->items[i]);

		if (err != KT_OK)
			stop_for(crew, err);
	}
	atomic_fetch_add(&crew->waits, waits_so_far() - waits);
}

/* Whatever it was, the others will meet it where it matters; but for a PIN,
 * which nobody else is to try. */
static void get_ready(struct member *m)
{
	struct crew *crew = m->crew;
	enum kt_err err = work_open(crew->token, &crew->old_key, &crew->new_key,
				    &m->work);

	m->ready = err == KT_OK;
	m->failed = err != KT_OK;
	if (err == KT_ERR_PIN)
		stop_for(crew, err);
	if (!m->failed)
		return;
	pthread_mutex_lock(&crew->mutex);
	crew->failed++;
	pthread_mutex_unlock(&crew->mutex);
}

static bool await_round(struct member *m)
{
	struct crew *crew = m->crew;
	bool over;

	pthread_mutex_lock(&crew->mutex);
	do {
		while (!crew->over && crew->round == m->round)
			pthread_cond_wait(&crew->begun, &crew->mutex);
		m->round = crew->round;
	} while (!crew->over && m->index >= crew->active);
	over = crew->over;
	pthread_mutex_unlock(&crew->mutex);
	return !over;
}

static void come_back(struct crew *crew)
{
	pthread_mutex_lock(&crew->mutex);
	if (--crew->busy == 0)
		pthread_cond_signal(&crew->ended);
	pthread_mutex_unlock(&crew->mutex);
}

static void *member_run(void *arg)
{
	struct member *m = arg;

	while (await_round(m)) {
		if (!m->ready && !m->failed)
			get_ready(m);
		if (m->ready)
			do_items(m);
		come_back(m->crew);
	}
	return NULL;
}

/* False where the machine has no thread more. */
static bool member_start(struct crew *crew)
{
	struct member *m = &crew->member[crew->started];

	*m = (struct member){
		.crew = crew,
		.index = crew->started,
		.round = crew->round,
	};
	if (pthread_create(&m->thread, NULL, member_run, m) != 0)
		return false;
	crew->started++;
	return true;
}

/* Nobody else is at work now: what they write, they wrote before. */
static void hire(struct crew *crew, size_t wanted)
{
	while (crew->started < wanted && crew->failed == 0) {
		if (!member_start(crew))
			crew->failed++;
	}
}

static void begin(struct crew *crew, struct rewrap_batch *batch)
{
	size_t wanted =
		batch->sessions < crew->most ? batch->sessions : crew->most;

	hire(crew, wanted < batch->count ? wanted : batch->count);
	atomic_store(&crew->next, 0);
	atomic_store(&crew->stopped, false);
	atomic_store(&crew->waits, 0);
	pthread_mutex_lock(&crew->mutex);
	crew->batch = batch;
	crew->stop.err = KT_OK;
	crew->active = wanted < crew->started ? wanted : crew->started;
	crew->busy = crew->active - 1;
	crew->round++;
	pthread_cond_broadcast(&crew->begun);
	pthread_mutex_unlock(&crew->mutex);
}

/* One that was not needed is not one that could not be had. */
static uint32_t had(const struct crew *crew, const struct rewrap_batch *batch)
{
	uint32_t had = 0;

	if (crew->failed == 0 && batch->sessions <= crew->most)
		return batch->sessions;
	for (size_t i = 0; i < crew->active; i++)
		had += crew->member[i].ready;
	return had;
}

static void end(struct crew *crew, struct rewrap_batch *batch)
{
	pthread_mutex_lock(&crew->mutex);
	while (crew->busy > 0)
		pthread_cond_wait(&crew->ended, &crew->mutex);
	pthread_mutex_unlock(&crew->mutex);
	batch->waits = atomic_load(&crew->waits);
	batch->sessions_had = had(crew, batch);
}

/* A token may have room for the keys of a few sessions only. */
static bool too_many(struct crew *crew)
{
	if (crew->stop.err != KT_ERR_MEMORY || crew->active == 1)
		return false;
	crew->most = crew->active / 2;
	return true;
}

enum kt_err crew_batch(struct crew *crew, struct rewrap_batch *batch)
{
	assert(batch->sessions > 0);
	TRY(work_allows(&crew->member[0].work, batch->op));
	do {
		begin(crew, batch);
		do_items(&crew->member[0]);
		end(crew, batch);
	} while (too_many(crew));
	return err_restore(&crew->stop);
}

enum kt_err crew_open(struct token *token, const struct rewrap_key *old_key,
		      const struct rewrap_key *new_key, size_t most,
		      struct crew **ret)
{
	CLEANUP(crew_closep) struct crew *crew = calloc(1, sizeof(*crew));

	assert(most > 0);
	if (crew == NULL)
		return err_memory();
	pthread_mutex_init(&crew->mutex, NULL);
	pthread_cond_init(&crew->begun, NULL);
	pthread_cond_init(&crew->ended, NULL);
	crew->token = token;
	crew->old_key = *old_key;
	crew->new_key = *new_key;
	crew->most = most;
	crew->member = calloc(most, sizeof(*crew->member));
	if (crew->member == NULL)
		return err_memory();
	crew->member[0].crew = crew;
	TRY(work_open(token, old_key, new_key, &crew->member[0].work));
	crew->member[0].ready = true;
	crew->started = 1;
	*ret = TAKE(crew);
	return KT_OK;
}

static void dismiss(struct crew *crew)
{
	pthread_mutex_lock(&crew->mutex);
	crew->over = true;
	pthread_cond_broadcast(&crew->begun);
	pthread_mutex_unlock(&crew->mutex);
	for (size_t i = 1; i < crew->started; i++)
		pthread_join(crew->member[i].thread, NULL);
}

void crew_close(struct crew *crew)
{
	if (crew == NULL)
		return;
	dismiss(crew);
	for (size_t i = 0; i < crew->started; i++)
		work_done(&crew->member[i].work);
	pthread_mutex_destroy(&crew->mutex);
	pthread_cond_destroy(&crew->begun);
	pthread_cond_destroy(&crew->ended);
	free(crew->member);
	free(crew);
}
