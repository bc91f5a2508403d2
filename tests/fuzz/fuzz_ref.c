/*
 * References to secrets: what is split goes together again.
 */
#include <stdio.h>
#include <string.h>

#include "cli/ref.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	CLEANUP(freep) char *text = input_text(&input);
	char full[2 * KT_NAME_MAX + 16];
	struct ref ref, before, again;

	memset(&ref, 0xa5, sizeof(ref));
	before = ref;
	if (ref_parse(text, &ref) != KT_OK) {
		must(memcmp(&ref, &before, sizeof(ref)) == 0);
		must(error_lacks("\n"));
		return 0;
	}
	must(ref.project[0] != '\0' && ref.name[0] != '\0');
	must(strchr(ref.project, '/') == NULL);
	snprintf(full, sizeof(full), "kt://%s/%s", ref.project, ref.name);
	must(strcmp(text, full) == 0 || strcmp(text, full + 5) == 0);
	must(ref_parse(full, &again) == KT_OK);
	must(strcmp(ref.project, again.project) == 0);
	must(strcmp(ref.name, again.name) == 0);
	return 0;
}
