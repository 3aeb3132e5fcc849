/* A stand-in for NVIDIA's libnvidia-ml.so.1: just what modelforge asks, told by environment variables.
 *
 * They are read again at each nvmlInitWithFlags:
 *   STUB_INIT   what nvmlInitWithFlags returns (a number of nvmlReturn_t; 0 if not set)
 *   STUB_COUNT  what nvmlDeviceGetCount_v2 returns
 *   STUB_CARDS  the cards, parted by ';', each of them fields parted by '|':
 *               error|name|uuid|total|reserved|used|capability|instances
 *               error: what the calls for this card return; name "!" makes only nvmlDeviceGetName fail, a
 *               name that begins with "?" the calls for its memory.
 *               total 0: the memory is not supported. Sizes in MiB. instances: -1 cannot be split,
 *               else how many parts a split card has, each of an eighth of the total.
 *   STUB_OLD    set: as drivers before 510, without the second version of the memory call
 *   STUB_LOG    a file to which nvmlInitWithFlags and nvmlShutdown append '+' and '-'
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB 1048576ULL
#define MOST 8
enum { OK = 0, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, FUNCTION_NOT_FOUND = 13, LOST = 15 };

struct card {
    int error, capability_major, capability_minor, instances, is_instance, number;
    char name[96], uuid[80];
    unsigned long long total, reserved, used;
};
struct memory { unsigned long long total, free, used; };
struct memory_v2 { unsigned int version; unsigned long long total, reserved, free, used; };

static struct card cards[MOST], parts[MOST];
static int count;

static int number(const char *variable) {
    const char *value = getenv(variable);
    return value ? atoi(value) : 0;
}

static void note(const char *mark) {
    const char *path = getenv("STUB_LOG");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (file) {
        fputs(mark, file);
        fclose(file);
    }
}

static void read_cards(void) {
    char text[4096];
    const char *value = getenv("STUB_CARDS");
    count = 0;
    snprintf(text, sizeof text, "%s", value ? value : "");
    for (char *rest = NULL, *line = strtok_r(text, ";", &rest); line && count < MOST; line = strtok_r(NULL, ";", &rest)) {
        struct card *card = &cards[count];
        memset(card, 0, sizeof *card);
        card->instances = -1;
        card->number = count++;
        sscanf(line, "%d|%95[^|]|%79[^|]|%llu|%llu|%llu|%d.%d|%d", &card->error, card->name, card->uuid, &card->total,
               &card->reserved, &card->used, &card->capability_major, &card->capability_minor, &card->instances);
    }
}

int nvmlInitWithFlags(unsigned int flags) {
    (void)flags;
    int result = number("STUB_INIT");
    if (result == OK) note("+");
    read_cards();
    return result;
}

int nvmlShutdown(void) {
    note("-");
    return OK;
}

const char *nvmlErrorString(int result) {
    return result == LOST ? "GPU is lost" : result == 18 ? "Driver/library version mismatch" : "stub error";
}

int nvmlDeviceGetCount_v2(unsigned int *found) {
    *found = (unsigned int)count;
    return number("STUB_COUNT");
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, struct card **handle) {
    if ((int)index >= count) return INVALID;
    *handle = &cards[index];
    return cards[index].error;
}

int nvmlDeviceGetName(struct card *card, char *name, unsigned int length) {
    if (strcmp(card->name, "!") == 0) return 999;
    snprintf(name, length, "%s", card->name);
    return OK;
}

int nvmlDeviceGetUUID(struct card *card, char *uuid, unsigned int length) {
    snprintf(uuid, length, "%s", card->uuid);
    return OK;
}

int nvmlDeviceGetMemoryInfo(struct card *card, struct memory *found) {
    if (card->name[0] == '?') return LOST;
    if (card->total == 0) return NOT_SUPPORTED;
    found->total = card->total * MIB;
    found->used = (card->used + card->reserved) * MIB;
    found->free = found->total - found->used;
    return OK;
}

int nvmlDeviceGetMemoryInfo_v2(struct card *card, struct memory_v2 *found) {
    if (getenv("STUB_OLD")) return FUNCTION_NOT_FOUND;
    if (card->name[0] == '?') return LOST;
    if (card->total == 0) return NOT_SUPPORTED;
    found->total = card->total * MIB;
    found->reserved = card->reserved * MIB;
    found->used = card->used * MIB;
    found->free = found->total - found->reserved - found->used;
    return OK;
}

int nvmlDeviceGetCudaComputeCapability(struct card *card, int *major, int *minor) {
    if (card->is_instance) return NOT_SUPPORTED;
    *major = card->capability_major;
    *minor = card->capability_minor;
    return OK;
}

int nvmlDeviceGetMigMode(struct card *card, unsigned int *current, unsigned int *pending) {
    if (card->instances < 0) return NOT_SUPPORTED;
    *current = *pending = 1;
    return OK;
}

int nvmlDeviceGetMaxMigDeviceCount(struct card *card, unsigned int *most) {
    (void)card;
    *most = MOST - 1;
    return OK;
}

/* The first place stays empty, as it may on a real card. */
int nvmlDeviceGetMigDeviceHandleByIndex(struct card *card, unsigned int index, struct card **handle) {
    if (index == 0 || (int)index > card->instances) return NOT_FOUND;
    struct card *part = &parts[index];
    *part = *card;
    part->is_instance = 1;
    part->instances = -1;
    part->total = card->total / 8;
    snprintf(part->name, sizeof part->name, "%.60s MIG 1g.5gb", card->name);
    snprintf(part->uuid, sizeof part->uuid, "MIG-%d-%u", card->number, index);
    *handle = part;
    return OK;
}
