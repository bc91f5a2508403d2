/*
 * The TCTI. It has no state per connection but the one below it: there is one
 * at a time in a test.
 */
#include "shim.h"

#include <stdlib.h>
#include <string.h>

#include <tss2/tss2_tcti.h>
#include <tss2/tss2_tctildr.h>
#include <tss2/tss2_tpm2_types.h>

#include "base/bytes.h"

#define LOG_MAX ((size_t)1 << 22)
#define CODES_MAX 64
#define HEADER_LEN 10

struct shim {
	TSS2_TCTI_CONTEXT_COMMON_V2 common;
	TSS2_TCTI_CONTEXT *below;
	uint32_t answer; /* in the TPM's place, 0: none */
	uint32_t code;   /* of the command under way */
};

static struct {
	unsigned count;
	struct {
		uint32_t code;
		unsigned count;
	} codes[CODES_MAX];
	unsigned cut_in;
	enum shim_cut cut_how;
	bool cut;
	struct {
		uint32_t code, rc;
		unsigned skip, times;
	} answer;
	struct {
		uint32_t code;
		size_t offset;
		bool armed;
	} garble;
	uint8_t log[LOG_MAX];
	size_t logged;
} state;

void shim_reset(void)
{
	memset(&state, 0,
	       sizeof(state) - sizeof(state.log) - sizeof(state.logged));
	state.logged = 0;
}

unsigned shim_count(void)
{
	return state.count;
}

unsigned shim_count_of(uint32_t code)
{
	for (size_t i = 0; i < CODES_MAX; i++) {
		if (state.codes[i].code == code)
			return state.codes[i].count;
	}
	return 0;
}

void shim_cut_at(unsigned n, enum shim_cut how)
{
	state.cut_in = n;
	state.cut_how = how;
	state.cut = false;
}

bool shim_was_cut(void)
{
	return state.cut;
}

void shim_answer(uint32_t code, unsigned skip, unsigned times, uint32_t rc)
{
	state.answer.code = code;
	state.answer.skip = skip;
	state.answer.times = times;
	state.answer.rc = rc;
}

void shim_garble(uint32_t code, size_t offset)
{
	state.garble.code = code;
	state.garble.offset = offset;
	state.garble.armed = true;
}

bool shim_saw(const void *bytes, size_t len)
{
	return memmem(state.log, state.logged, bytes, len) != NULL;
}

size_t shim_logged(void)
{
	return state.logged;
}

static void write_down(const uint8_t *bytes, size_t len)
{
	if (len > LOG_MAX - state.logged)
		abort();
	memcpy(state.log + state.logged, bytes, len);
	state.logged += len;
}

static void count(uint32_t code)
{
	state.count++;
	for (size_t i = 0; i < CODES_MAX; i++) {
		if (state.codes[i].count > 0 && state.codes[i].code != code)
			continue;
		state.codes[i].code = code;
		state.codes[i].count++;
		return;
	}
	abort();
}

static bool answers_itself(uint32_t code)
{
	if (state.answer.times == 0 ||
	    (state.answer.code != 0 && state.answer.code != code))
		return false;
	if (state.answer.skip > 0) {
		state.answer.skip--;
		return false;
	}
	state.answer.times--;
	return true;
}

/* Whether this command is the one where the power goes. */
static bool cuts_now(void)
{
	return state.cut_in > 0 && --state.cut_in == 0;
}

static TSS2_RC transmit(TSS2_TCTI_CONTEXT *context, size_t size,
			const uint8_t *command)
{
	struct shim *shim = (struct shim *)context;
	TSS2_RC rc;

	shim->code = be32_get(command + 6);
	shim->answer = 0;
	if (state.cut)
		return TSS2_TCTI_RC_IO_ERROR;
	if (answers_itself(shim->code)) {
		shim->answer = state.answer.rc;
		return TSS2_RC_SUCCESS;
	}
	state.cut = cuts_now();
	if (state.cut && state.cut_how == SHIM_CUT_COMMAND)
		return TSS2_TCTI_RC_IO_ERROR;
	count(shim->code);
	write_down(command, size);
	rc = Tss2_Tcti_Transmit(shim->below, size, command);
	return rc;
}

static TSS2_RC answer_with(uint32_t rc, size_t *size, uint8_t *response)
{
	be16_put(response, TPM2_ST_NO_SESSIONS);
	be32_put(response + 2, HEADER_LEN);
	be32_put(response + 6, rc);
	*size = HEADER_LEN;
	return TSS2_RC_SUCCESS;
}

static TSS2_RC receive(TSS2_TCTI_CONTEXT *context, size_t *size,
		       uint8_t *response, int32_t timeout)
{
	struct shim *shim = (struct shim *)context;
	TSS2_RC rc;

	if (shim->answer != 0)
		return answer_with(shim->answer, size, response);
	rc = Tss2_Tcti_Receive(shim->below, size, response, timeout);
	if (rc != TSS2_RC_SUCCESS || response == NULL)
		return rc;
	if (state.cut)
		return TSS2_TCTI_RC_IO_ERROR;
	if (state.garble.armed && state.garble.code == shim->code &&
	    state.garble.offset < *size) {
		response[state.garble.offset] ^= 1;
		state.garble.armed = false;
	}
	write_down(response, *size);
	return rc;
}

static void finalize(TSS2_TCTI_CONTEXT *context)
{
	Tss2_TctiLdr_Finalize(&((struct shim *)context)->below);
}

static TSS2_RC init(TSS2_TCTI_CONTEXT *context, size_t *size,
		    const char *config)
{
	struct shim *shim = (struct shim *)context;

	*size = sizeof(struct shim);
	if (context == NULL)
		return TSS2_RC_SUCCESS;
	if (state.cut)
		return TSS2_TCTI_RC_IO_ERROR;
	memset(shim, 0, sizeof(*shim));
	shim->common.v1.magic = UINT64_C(0x6b65797475726e31);
	shim->common.v1.version = 2;
	shim->common.v1.transmit = transmit;
	shim->common.v1.receive = receive;
	shim->common.v1.finalize = finalize;
	return Tss2_TctiLdr_Initialize(config, &shim->below);
}

static const TSS2_TCTI_INFO info = {
	.version = 2,
	.name = "keyturn-shim",
	.description = "between a token and its TPM",
	.config_help = "the TCTI below",
	.init = init,
};

const TSS2_TCTI_INFO *Tss2_Tcti_Info(void);

const TSS2_TCTI_INFO *Tss2_Tcti_Info(void)
{
	return &info;
}
