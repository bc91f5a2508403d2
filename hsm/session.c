/*
 * Sessions as leases. The pool gives out read-only sessions and waits when all
 * are in use; the one read-write session comes with the lock between processes.
 * A session that met an error is closed when it is given back, never used
 * again. Giving back touches no error detail, so that it can stand on any path.
 */
#include "hsm/state.h"

enum kt_err module_lock(const struct token *token, enum lock_mode mode,
			int *ret_fd)
{
	return token_lock(token->runtime_dir, token->module.path, mode, ret_fd);
}

enum kt_err session_open(struct token *token, CK_FLAGS flags,
			 CK_SESSION_HANDLE *ret)
{
	CK_SESSION_HANDLE handle = CK_INVALID_HANDLE;
	CK_RV rv;

	TRY(module_require(&token->module));
	rv = token->module.p11->C_OpenSession(token->slot.id,
					      flags | CKF_SERIAL_SESSION, NULL,
					      NULL, &handle);
	TRY(p11_result(NULL, "C_OpenSession", rv));
	*ret = handle;
	return KT_OK;
}

uint64_t token_generation(const struct token *token)
{
	return token->generation;
}

static enum kt_err session_new(struct token *token, CK_FLAGS flags,
			       struct session **ret)
{
	CLEANUP(freep) struct session *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return err_memory();
	s->token = token;
	s->p11 = token->module.p11;
	s->generation = token->generation;
	s->read_write = (flags & CKF_RW_SESSION) != 0;
	TRY(session_open(token, flags, &s->handle));
	*ret = TAKE(s);
	return KT_OK;
}

/* Handles of before a reload may name somebody else's session by now. */
static void session_free(struct session *s)
{
	if (s->generation >= s->token->first_generation)
		s->p11->C_CloseSession(s->handle);
	free(s);
}

static bool usable(const struct session *s)
{
	return !s->broken && s->generation == s->token->generation;
}

/* Opens under the lock: SoftHSM 2.6.1 cannot open a session while another
 * process logs in. */
static enum kt_err session_new_locked(struct token *token, struct session **ret)
{
	CLEANUP(fd_close) int lock = -1;

	TRY(module_lock(token, LOCK_MODE_SHARED, &lock));
	return session_new(token, 0, ret);
}

enum kt_err session_new_own(struct token *token, struct session **ret)
{
	TRY(session_new(token, 0, ret));
	(*ret)->own = true;
	return KT_OK;
}

/* A room in the pool was free: fills it, or gives it up. A token that says it
 * has no more sessions gets a smaller pool. */
static enum kt_err pool_open(struct token *token, struct session **ret)
{
	enum kt_err err = session_new_locked(token, ret);

	if (err == KT_OK)
		return KT_OK;
	pthread_mutex_lock(&token->pool_mutex);
	token->open--;
	if (err == KT_ERR_MEMORY && token->open > 0)
		token->max = token->open;
	pthread_cond_signal(&token->returned);
	pthread_mutex_unlock(&token->pool_mutex);
	return err;
}

/* Waits for an idle session or for room to open one (then NULL). */
static struct session *pool_take(struct token *token)
{
	struct session *s;

	pthread_mutex_lock(&token->pool_mutex);
	while (token->idle == NULL && token->open >= token->max)
		pthread_cond_wait(&token->returned, &token->pool_mutex);
	s = token->idle;
	if (s != NULL)
		token->idle = s->next;
	else
		token->open++;
	pthread_mutex_unlock(&token->pool_mutex);
	return s;
}

static bool pool_shrank(struct token *token)
{
	bool shrank;

	pthread_mutex_lock(&token->pool_mutex);
	shrank = token->open > 0 && token->open == token->max;
	pthread_mutex_unlock(&token->pool_mutex);
	return shrank;
}

static enum kt_err pool_fill(struct token *token, struct session **ret)
{
	struct session *s = pool_take(token);

	if (s != NULL && !usable(s))
		session_free(TAKE(s));
	if (s == NULL)
		return pool_open(token, ret);
	s->next = NULL;
	*ret = s;
	return KT_OK;
}

enum kt_err session_lease(struct token *token, struct session **ret)
{
	enum kt_err err;

	do {
		err = pool_fill(token, ret);
	} while (err == KT_ERR_MEMORY && pool_shrank(token));
	return err;
}

enum kt_err session_open_own(struct token *token, struct session **ret)
{
	TRY(session_new_locked(token, ret));
	(*ret)->own = true;
	return KT_OK;
}

static void pool_give(struct token *token, struct session *s)
{
	pthread_mutex_lock(&token->pool_mutex);
	if (usable(s)) {
		s->next = token->idle;
		token->idle = s;
		s = NULL;
	} else {
		token->open--;
	}
	pthread_cond_signal(&token->returned);
	pthread_mutex_unlock(&token->pool_mutex);
	if (s != NULL)
		session_free(s);
}

static void rw_close(struct token *token)
{
	if (token->rw != NULL)
		session_free(TAKE(token->rw));
}

static enum kt_err rw_open(struct token *token)
{
	TRY(module_lock(token, LOCK_MODE_EXCLUSIVE, &token->rw_lock));
	if (token->rw != NULL && usable(token->rw))
		return KT_OK;
	rw_close(token);
	return session_new(token, CKF_RW_SESSION, &token->rw);
}

static void rw_end(struct token *token)
{
	fd_close(&token->rw_lock);
	pthread_mutex_unlock(&token->rw_mutex);
}

enum kt_err session_lease_rw(struct token *token, struct session **ret)
{
	enum kt_err err;

	pthread_mutex_lock(&token->rw_mutex);
	err = rw_open(token);
	if (err != KT_OK)
		rw_end(token);
	else
		*ret = token->rw;
	return err;
}

void session_release(struct session *session)
{
	if (session == NULL)
		return;
	if (session->own) {
		session_free(session);
	} else if (session->read_write) {
		struct token *token = session->token;

		if (!usable(session))
			rw_close(token);
		rw_end(token);
	} else {
		pool_give(session->token, session);
	}
}

void sessions_close(struct token *token)
{
	struct session *s;

	pthread_mutex_lock(&token->pool_mutex);
	while ((s = token->idle) != NULL) {
		token->idle = s->next;
		token->open--;
		session_free(s);
	}
	pthread_mutex_unlock(&token->pool_mutex);
	rw_close(token);
}

/* The generation that failed, for login_renew(). */
static enum kt_err attempt(struct token *token,
			   enum kt_err (*lease)(struct token *t,
						struct session **ret),
			   enum kt_err (*op)(struct session *s, void *arg),
			   void *arg, uint64_t *ret_generation)
{
	CLEANUP(session_releasep) struct session *s = NULL;

	*ret_generation = token_generation(token);
	TRY(lease(token, &s));
	*ret_generation = s->generation;
	return op(s, arg);
}

static enum kt_err retry(struct token *token,
			 enum kt_err (*lease)(struct token *t,
					      struct session **ret),
			 enum kt_err (*op)(struct session *s, void *arg),
			 void *arg)
{
	uint64_t generation;
	enum kt_err err = attempt(token, lease, op, arg, &generation);

	if (err != KT_ERR_SESSION)
		return err;
	TRY(login_renew(token, generation));
	err = attempt(token, lease, op, arg, &generation);
	if (err == KT_ERR_SESSION)
		return err_prefix(KT_ERR_TOKEN, "session lost again");
	return err;
}

enum kt_err token_retry(struct token *token,
			enum kt_err (*op)(struct session *s, void *arg),
			void *arg)
{
	return retry(token, session_lease, op, arg);
}

enum kt_err token_retry_rw(struct token *token,
			   enum kt_err (*op)(struct session *s, void *arg),
			   void *arg)
{
	return retry(token, session_lease_rw, op, arg);
}
