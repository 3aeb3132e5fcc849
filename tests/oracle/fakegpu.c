/* GPUs that do not exist, for llama.cpp's planner.
 *
 * Registers FAKE_DEVICES devices with settable memory. They claim every operation and hold nothing: only a dry
 * load (no_alloc) may use them. What their buffers would take is what ggml's CUDA backend takes: rows of blocks
 * are padded to 512 elements, and where flash attention reads a cache that is not f16, its output has room for
 * that layer's keys and values in f16.
 *
 * The declarations are of ggml's backend interface, versions 2 (llama.cpp b10488) and 3 (b11549); FAKE_API says
 * which. ggml refuses the library if its own is another.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#ifndef FAKE_API
#define FAKE_API 3
#endif
#define FAKE_DEVICES 4
#define ROW_PADDING 512
#define ALIGNMENT 128
#define OP_BATCH 32 /* ggml-cuda: smaller batches are not worth a copy of weights */

enum device_type { TYPE_CPU, TYPE_GPU };

struct tensor {
    int type;
    void *buffer;
    int64_t ne[4];
    size_t nb[4];
    int op;
    int32_t op_params[16];
    int32_t flags;
    struct tensor *src[10];
    struct tensor *view_src;
    size_t view_offs;
    void *data;
    char name[64];
    void *extra;
    char padding[8];
};

struct buffer_type;
struct device;
struct registry;
struct backend;

struct buffer_type_calls {
    const char *(*get_name)(struct buffer_type *);
    void *(*alloc_buffer)(struct buffer_type *, size_t);
#if FAKE_API >= 3
    void *(*alloc_buffer_n)(struct buffer_type *, struct tensor **, int);
#endif
    size_t (*get_alignment)(struct buffer_type *);
    size_t (*get_max_size)(struct buffer_type *);
    size_t (*get_alloc_size)(struct buffer_type *, const struct tensor *);
#if FAKE_API >= 3
    size_t (*get_alloc_size_n)(struct buffer_type *, struct tensor **, int);
#endif
    bool (*is_host)(struct buffer_type *);
};
struct buffer_type {
    struct buffer_type_calls calls;
    struct device *device;
    void *context;
};

struct buffer {
    void *opaque;
};
struct buffer_calls {
    void (*free_buffer)(struct buffer *);
    void *(*get_base)(struct buffer *);
    void *init_tensor;
    void (*memset_tensor)(struct buffer *, struct tensor *, uint8_t, size_t, size_t);
    void (*set_tensor)(struct buffer *, struct tensor *, const void *, size_t, size_t);
    void (*get_tensor)(struct buffer *, const struct tensor *, void *, size_t, size_t);
    void *set_tensor_2d, *get_tensor_2d, *cpy_tensor;
    void (*clear)(struct buffer *, uint8_t);
    void *reset;
};

struct capabilities {
    bool async, host_buffer, buffer_from_host_ptr, events, mmap_support;
};
struct properties {
    const char *name, *description;
    size_t memory_free, memory_total;
    enum device_type type;
    const char *device_id;
    struct capabilities capabilities;
};

struct backend_calls {
    const char *(*get_name)(struct backend *);
    void (*free)(struct backend *);
    void *set_tensor_async, *get_tensor_async, *set_tensor_2d_async, *get_tensor_2d_async, *cpy_tensor_async;
    void (*synchronize)(struct backend *);
    void *graph_plan_create, *graph_plan_free, *graph_plan_update, *graph_plan_compute;
    int (*graph_compute)(struct backend *, void *);
    void *event_record, *event_wait, *graph_optimize;
};
struct backend {
    unsigned char *guid;
    struct backend_calls calls;
    struct device *device;
    void *context;
};

struct device_calls {
    const char *(*get_name)(struct device *);
    const char *(*get_description)(struct device *);
    void (*get_memory)(struct device *, size_t *, size_t *);
    enum device_type (*get_type)(struct device *);
    void (*get_props)(struct device *, struct properties *);
    struct backend *(*init_backend)(struct device *, const char *);
    struct buffer_type *(*get_buffer_type)(struct device *);
    struct buffer_type *(*get_host_buffer_type)(struct device *);
    void *buffer_from_host_ptr;
    bool (*supports_op)(struct device *, const struct tensor *);
    bool (*supports_buft)(struct device *, struct buffer_type *);
    bool (*offload_op)(struct device *, const struct tensor *);
    void *(*event_new)(struct device *);
    void (*event_free)(struct device *, void *);
    void (*event_synchronize)(struct device *, void *);
};
struct device {
    struct device_calls calls;
    struct registry *registry;
    void *context;
};

struct registry_calls {
    const char *(*get_name)(struct registry *);
    size_t (*get_device_count)(struct registry *);
    struct device *(*get_device)(struct registry *, size_t);
    void *(*get_proc_address)(struct registry *, const char *);
};
struct registry {
    int api_version;
    struct registry_calls calls;
    void *context;
};

/* of ggml itself */
size_t ggml_nbytes(const struct tensor *);
int64_t ggml_nelements(const struct tensor *);
int64_t ggml_nrows(const struct tensor *);
size_t ggml_row_size(int type, int64_t elements);
bool ggml_is_quantized(int type);
const char *ggml_op_name(int op);
struct buffer *ggml_backend_buffer_init(struct buffer_type *, struct buffer_calls, void *context, size_t size);

static struct device devices[FAKE_DEVICES];
static struct buffer_type buffer_types[FAKE_DEVICES];
static char names[FAKE_DEVICES][16];
static size_t memory[FAKE_DEVICES];
static bool cuda = true;
static struct registry self;

static int number_of(const struct device *device) { return (int)(device - devices); }
static bool named(const struct tensor *tensor, const char *op) { return !strcmp(ggml_op_name(tensor->op), op); }

void fake_set_memory(int device, size_t bytes) { memory[device] = bytes; }
void fake_set_cuda(bool on) { cuda = on; } /* else a backend without padding and without unpacked caches */
struct device *fake_device(int device) { return &devices[device]; }

static size_t padded(size_t size) { return (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

static size_t with_unpacked_cache(const struct tensor *output) {
    enum { F16 = 1 };
    const struct tensor *key = output->src[1], *value = output->src[2];
    size_t end = ggml_nbytes(output);
    bool same = value->view_src && (value->view_src == key ||
                                    (value->view_src == key->view_src && value->view_offs == key->view_offs));
    if (key->type != F16)
        end = padded(end) + 2 * (size_t)ggml_nelements(key);
    if (value->type != F16 && !(same && key->type != F16))
        end = padded(end) + 2 * (size_t)ggml_nelements(value);
    return end;
}

static const char *buffer_name(struct buffer_type *type) { return names[number_of(type->device)]; }

/* Recurrent state is allocated even by a dry load: a buffer with an address that nothing reads or writes. */
static void buffer_free(struct buffer *buffer) { (void)buffer; }
static void *buffer_base(struct buffer *buffer) {
    (void)buffer;
    return (void *)(uintptr_t)(1 << 20);
}
static void no_memset(struct buffer *buffer, struct tensor *tensor, uint8_t value, size_t offset, size_t size) {
    (void)buffer, (void)tensor, (void)value, (void)offset, (void)size;
}
static void no_set(struct buffer *buffer, struct tensor *tensor, const void *data, size_t offset, size_t size) {
    (void)buffer, (void)tensor, (void)data, (void)offset, (void)size;
}
static void no_get(struct buffer *buffer, const struct tensor *tensor, void *data, size_t offset, size_t size) {
    (void)buffer, (void)tensor, (void)offset;
    memset(data, 0, size);
}
static void no_clear(struct buffer *buffer, uint8_t value) { (void)buffer, (void)value; }
static void *hollow_buffer(struct buffer_type *type, size_t size) {
    struct buffer_calls calls = {0};
    calls.free_buffer = buffer_free;
    calls.get_base = buffer_base;
    calls.memset_tensor = no_memset;
    calls.set_tensor = no_set;
    calls.get_tensor = no_get;
    calls.clear = no_clear;
    return ggml_backend_buffer_init(type, calls, NULL, size);
}
static size_t alignment(struct buffer_type *type) {
    (void)type;
    return ALIGNMENT;
}
static size_t alloc_size(struct buffer_type *type, const struct tensor *tensor) {
    (void)type;
    if (!cuda)
        return ggml_nbytes(tensor);
    size_t size = named(tensor, "FLASH_ATTN_EXT") ? with_unpacked_cache(tensor) : ggml_nbytes(tensor);
    int64_t beyond = tensor->ne[0] % ROW_PADDING;
    if (ggml_is_quantized(tensor->type) && beyond)
        size += ggml_row_size(tensor->type, ROW_PADDING - beyond);
    return size;
}
static bool never_host(struct buffer_type *type) {
    (void)type;
    return false;
}

static const char *backend_name(struct backend *backend) { return names[number_of(backend->device)]; }
static void nothing(struct backend *backend) { (void)backend; }
static int computes_nothing(struct backend *backend, void *graph) {
    (void)backend, (void)graph;
    return -1;
}

static const char *device_name(struct device *device) { return names[number_of(device)]; }
static void device_memory(struct device *device, size_t *free, size_t *total) {
    *free = *total = memory[number_of(device)];
}
static enum device_type device_type(struct device *device) {
    (void)device;
    return TYPE_GPU;
}
static void device_props(struct device *device, struct properties *properties) {
    memset(properties, 0, sizeof *properties);
    properties->name = properties->description = device_name(device);
    device_memory(device, &properties->memory_free, &properties->memory_total);
    properties->type = TYPE_GPU;
    properties->capabilities.async = properties->capabilities.events = true;
    properties->capabilities.mmap_support = true;
}
static unsigned char guid[16] = "modelforge-fake";
static struct backend backends[FAKE_DEVICES];
static struct backend *init_backend(struct device *device, const char *parameters) {
    (void)parameters;
    struct backend *backend = &backends[number_of(device)];
    backend->guid = guid;
    backend->device = device;
    backend->calls.get_name = backend_name;
    backend->calls.free = nothing;
    backend->calls.synchronize = nothing;
    backend->calls.graph_compute = computes_nothing;
    return backend;
}
static struct buffer_type *own_buffers(struct device *device) { return &buffer_types[number_of(device)]; }
static bool any_op(struct device *device, const struct tensor *op) {
    (void)device, (void)op;
    return true;
}
static bool only_own(struct device *device, struct buffer_type *type) { return type->device == device; }
static bool worth_a_copy(struct device *device, const struct tensor *op) {
    (void)device;
    if (named(op, "GET_ROWS"))
        return false;
    if (named(op, "MUL_MAT"))
        return op->ne[1] >= OP_BATCH;
    if (named(op, "MUL_MAT_ID") || named(op, "ROPE"))
        return op->ne[2] >= OP_BATCH;
    return ggml_nrows(op) >= OP_BATCH;
}
static void *event_new(struct device *device) {
    static struct { void *device, *context; } events[256];
    static int made;
    events[made % 256].device = device;
    return &events[made++ % 256];
}
static void event_done(struct device *device, void *event) { (void)device, (void)event; }

static const char *registry_name(struct registry *registry) {
    (void)registry;
    return "FAKE";
}
static size_t device_count(struct registry *registry) {
    (void)registry;
    return FAKE_DEVICES;
}
static struct device *get_device(struct registry *registry, size_t index) {
    (void)registry;
    return &devices[index];
}
static void *no_address(struct registry *registry, const char *name) {
    (void)registry, (void)name;
    return NULL;
}

struct registry *ggml_backend_init(void) {
    for (int i = 0; i < FAKE_DEVICES; i++) {
        snprintf(names[i], sizeof names[i], "FAKE%d", i);
        buffer_types[i].device = &devices[i];
        struct buffer_type_calls *buffers = &buffer_types[i].calls;
        buffers->get_name = buffer_name;
        buffers->alloc_buffer = hollow_buffer;
        buffers->get_alignment = alignment;
        buffers->get_alloc_size = alloc_size;
        buffers->is_host = never_host;
        devices[i].registry = &self;
        struct device_calls *calls = &devices[i].calls;
        calls->get_name = calls->get_description = device_name;
        calls->get_memory = device_memory;
        calls->get_type = device_type;
        calls->get_props = device_props;
        calls->init_backend = init_backend;
        calls->get_buffer_type = own_buffers;
        calls->supports_op = any_op;
        calls->supports_buft = only_own;
        calls->offload_op = worth_a_copy;
        calls->event_new = event_new;
        calls->event_free = calls->event_synchronize = event_done;
    }
    self.api_version = FAKE_API;
    self.calls.get_name = registry_name;
    self.calls.get_device_count = device_count;
    self.calls.get_device = get_device;
    self.calls.get_proc_address = no_address;
    return &self;
}
