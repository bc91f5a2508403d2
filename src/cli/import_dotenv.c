/*
 * The dotenv reader. It knows no expansion and no continuation, and refuses
 * what it is not sure of: a value that was read wrongly would be kept
 * wrongly, and nobody would see it.
 *
 *	# comment
 *	export NAME=plain value      # comment after a blank
 *	NAME='literal, over
 *	several lines'
 *	NAME="escapes \n \t \r \" \\ \$, over several lines"
 */
#include "cli/import_dotenv.h"

#include <string.h>

#include "base/err.h"
#include "base/secret.h"

struct parser {
	const char *file;
	const uint8_t *at, *end;
	size_t line;
	struct import_set *set;
};

static enum kt_err refuse(const struct parser *p, const char *what)
{
	return err_raise(KT_ERR_USAGE, "%s:%zu: %s", p->file, p->line, what);
}

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static void skip_blanks(struct parser *p)
{
	while (p->at < p->end && is_blank(*p->at))
		p->at++;
}

static bool at_line_end(const struct parser *p)
{
	return p->at == p->end || *p->at == '\n';
}

static const uint8_t *line_end(const struct parser *p)
{
	const uint8_t *end = memchr(p->at, '\n', (size_t)(p->end - p->at));

	return end != NULL ? end : p->end;
}

static bool is_name_byte(uint8_t c, bool first)
{
	if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_')
		return true;
	return !first && ((c >= '0' && c <= '9') || c == '.' || c == '-');
}

/* `export` and a blank; `export=1` is a value of that name. */
static void skip_export(struct parser *p)
{
	static const char word[] = "export";
	size_t len = sizeof(word) - 1;

	if ((size_t)(p->end - p->at) <= len || memcmp(p->at, word, len) != 0)
		return;
	if (p->at[len] != ' ' && p->at[len] != '\t')
		return;
	p->at += len;
	skip_blanks(p);
}

static enum kt_err read_name(struct parser *p, char ret[KT_NAME_MAX + 1])
{
	const uint8_t *start = p->at;
	size_t len;

	while (p->at < p->end && is_name_byte(*p->at, p->at == start))
		p->at++;
	len = (size_t)(p->at - start);
	if (len > KT_NAME_MAX)
		return refuse(p, "the name is longer than 255 bytes");
	skip_blanks(p);
	if (len == 0 || p->at == p->end || *p->at != '=')
		return refuse(p, "not NAME=VALUE");
	p->at++;
	memcpy(ret, start, len);
	ret[len] = '\0';
	return KT_OK;
}

/* To the end of the line or to a '#' after a blank. */
static enum kt_err read_plain(struct parser *p, struct kt_secret *ret)
{
	const uint8_t *start = p->at, *end = line_end(p), *stop = start;

	while (stop < end &&
	       !(*stop == '#' && stop > start && is_blank(stop[-1])))
		stop++;
	p->at = end;
	while (stop > start && is_blank(stop[-1]))
		stop--;
	while (start < stop && is_blank(*start))
		start++;
	return kt_secret_copy(start, (size_t)(stop - start), ret);
}

/* Behind the closing quote stands nothing but a comment. */
static enum kt_err end_quoted(struct parser *p)
{
	bool blank = p->at < p->end && is_blank(*p->at);

	skip_blanks(p);
	if (blank && p->at < p->end && *p->at == '#')
		p->at = line_end(p);
	if (!at_line_end(p))
		return refuse(p, "text behind the closing quote");
	return KT_OK;
}

static void count_lines(struct parser *p, const uint8_t *from,
			const uint8_t *to)
{
	for (; from < to; from++)
		p->line += *from == '\n';
}

/* The closing quote of a value that begins at p->at; NULL: there is none. */
static const uint8_t *closing_quote(const struct parser *p, uint8_t quote)
{
	const uint8_t *at = p->at;

	while (at < p->end && *at != quote)
		at += quote == '"' && *at == '\\' && at + 1 < p->end ? 2 : 1;
	return at < p->end ? at : NULL;
}

/* The byte that an escape stands for; 0: there is no such escape. */
static uint8_t unescape(uint8_t c)
{
	switch (c) {
	case 'n':
		return '\n';
	case 't':
		return '\t';
	case 'r':
		return '\r';
	case '"':
	case '\\':
	case '$':
		return c;
	default:
		return 0;
	}
}

static enum kt_err unescape_all(struct parser *p, const uint8_t *end,
				struct kt_secret *ret)
{
	CLEANUP(kt_secret_done) struct kt_secret value = {0};
	size_t len = 0;

	TRY(secret_new((size_t)(end - p->at), &value));
	while (p->at < end) {
		uint8_t c = *p->at++;

		p->line += c == '\n';
		if (c == '\\')
			c = unescape(*p->at++);
		if (c == 0)
			return refuse(p, "unknown escape in double quotes "
					 "(known: \\n \\t \\r \\\" \\\\ \\$)");
		value.data[len++] = c;
	}
	secret_shrink(&value, len);
	*ret = value;
	value = (struct kt_secret){0};
	return KT_OK;
}

static enum kt_err read_quoted(struct parser *p, struct kt_secret *ret)
{
	CLEANUP(kt_secret_done) struct kt_secret value = {0};
	uint8_t quote = *p->at++;
	const uint8_t *end = closing_quote(p, quote);

	if (end == NULL)
		return refuse(p, "the quote that opens here is never closed");
	if (quote == '"') {
		TRY(unescape_all(p, end, &value));
	} else {
		TRY(kt_secret_copy(p->at, (size_t)(end - p->at), &value));
		count_lines(p, p->at, end);
	}
	p->at = end + 1;
	TRY(end_quoted(p));
	*ret = value;
	value = (struct kt_secret){0};
	return KT_OK;
}

static enum kt_err read_value(struct parser *p, struct kt_secret *ret)
{
	const uint8_t *start = p->at;

	skip_blanks(p);
	if (p->at < p->end && (*p->at == '\'' || *p->at == '"'))
		return read_quoted(p, ret);
	p->at = start;
	return read_plain(p, ret);
}

static enum kt_err read_assignment(struct parser *p)
{
	CLEANUP(kt_secret_done) struct kt_secret value = {0};
	char name[KT_NAME_MAX + 1];
	size_t line = p->line;

	skip_export(p);
	TRY(read_name(p, name));
	TRY(read_value(p, &value));
	return import_add(p->set, p->file, line, name, &value);
}

static enum kt_err read_lines(struct parser *p)
{
	for (; p->at < p->end; p->line++) {
		skip_blanks(p);
		if (p->at < p->end && *p->at == '#')
			p->at = line_end(p);
		if (!at_line_end(p))
			TRY(read_assignment(p));
		if (p->at < p->end)
			p->at++;
	}
	return KT_OK;
}

struct place {
	const char *name;
	size_t line;
};

static int compare_places(const void *a, const void *b)
{
	const struct place *left = a, *right = b;
	int order = strcmp(left->name, right->name);

	return order != 0 ? order
			  : (left->line > right->line) -
				    (left->line < right->line);
}

static enum kt_err refuse_duplicates(const char *file,
				     const struct import_set *set)
{
	CLEANUP(freep) struct place *places = NULL;

	places = calloc(set->count + 1, sizeof(*places));
	if (places == NULL)
		return err_memory();
	for (size_t i = 0; i < set->count; i++)
		places[i] = (struct place){set->items[i].name, set->lines[i]};
	qsort(places, set->count, sizeof(*places), compare_places);
	for (size_t i = 1; i < set->count; i++) {
		if (strcmp(places[i - 1].name, places[i].name) == 0)
			return err_raise(KT_ERR_USAGE,
					 "%s:%zu: '%s' was set in line %zu "
					 "already",
					 file, places[i].line, places[i].name,
					 places[i - 1].line);
	}
	return KT_OK;
}

static enum kt_err refuse_nul(struct parser *p)
{
	const uint8_t *nul = memchr(p->at, 0, (size_t)(p->end - p->at));

	if (nul == NULL)
		return KT_OK;
	count_lines(p, p->at, nul);
	return refuse(p, "a NUL byte");
}

enum kt_err import_dotenv(const char *file, const struct kt_secret *text,
			  struct import_set *ret)
{
	CLEANUP(import_done) struct import_set set = {0};
	struct parser p = {
		.file = file,
		.at = text->data,
		.end = text->data + text->len,
		.line = 1,
		.set = &set,
	};

	TRY(refuse_nul(&p));
	TRY(read_lines(&p));
	TRY(refuse_duplicates(file, &set));
	*ret = set;
	set = (struct import_set){0};
	return KT_OK;
}
