/* Mistral in C, from the suite's README alone: runs the cases of `minimistral vectors` and writes its logits.

       cc -O2 -o mistral mistral.c -lm
       ./mistral SUITE RESULTS [LAST LEVEL]

   Nothing but the C library. -DREAL=double computes in float64. Numbers live in `real`; a chunk of tokens goes through a
   layer together, sees the ring and itself, and is written into the ring when it has been read. Files and weights are
   kept until the end: they are small. */

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef REAL
#define REAL float
#endif
typedef REAL real;

/* The three lines that people get wrong, so that a test can get them wrong too. */
#ifndef KV_HEAD
#define KV_HEAD(h, n_heads, n_kv_heads) ((h) / ((n_heads) / (n_kv_heads)))
#endif
#ifndef FIRST_KEY
#define FIRST_KEY(position, window) ((position) - (window) + 1)
#endif
#ifndef FIRST_KEPT
#define FIRST_KEPT(start, end, window) ((end) - (window))
#endif

static void *need(size_t bytes) {
    void *p = calloc(bytes ? bytes : 1, 1);
    if (!p) { fputs("not enough memory\n", stderr); exit(2); }
    return p;
}

static void fail(const char *what, const char *where) {
    fprintf(stderr, "%s: %s\n", where, what);
    exit(2);
}

static char *read_file(const char *path, size_t *size) {
    FILE *f = fopen(path, "rb");
    if (!f) fail("cannot be read", path);
    fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    char *bytes = need(*size + 1);
    if (fread(bytes, 1, *size, f) != *size) fail("cut short", path);
    fclose(f);
    return bytes;
}

/* JSON: as much of it as the suite uses. */

typedef struct json {
    char type; /* n null, b true or false, 0 number, " string, [ list, { object */
    double number;
    char *text;
    int n;
    char **keys;
    struct json **items;
} json;

static const char *skip(const char *s) {
    while (*s == ' ' || *s == '\n' || *s == ',' || *s == ':') s++;
    return s;
}

static char *parse_string(const char **s) {
    const char *start = ++*s;
    while (**s != '"') ++*s;
    char *text = need((size_t)(*s - start) + 1);
    memcpy(text, start, (size_t)(*s - start));
    ++*s;
    return text;
}

static json *parse(const char **s) {
    json *j = need(sizeof *j);
    *s = skip(*s);
    j->type = **s;
    if (**s == '[' || **s == '{') {
        char close = **s == '[' ? ']' : '}';
        for (*s = skip(*s + 1); **s != close; *s = skip(*s)) {
            j->items = realloc(j->items, sizeof *j->items * (size_t)(j->n + 1));
            j->keys = realloc(j->keys, sizeof *j->keys * (size_t)(j->n + 1));
            if (close == '}') j->keys[j->n] = parse_string(s);
            j->items[j->n++] = parse(s);
        }
        ++*s;
    } else if (**s == '"') {
        j->text = parse_string(s);
    } else if (**s == 't' || **s == 'f' || **s == 'n') {
        j->type = **s == 'n' ? 'n' : 'b';
        j->number = **s == 't';
        while (**s >= 'a' && **s <= 'z') ++*s;
    } else {
        char *end;
        j->type = '0';
        j->number = strtod(*s, &end);
        if (end == *s) fail("not JSON", *s);
        *s = end;
    }
    return j;
}

static json *get(const json *j, const char *key) {
    for (int i = 0; i < j->n; i++)
        if (!strcmp(j->keys[i], key)) return j->items[i];
    return NULL;
}

static int count(const json *j, const char *key) { return (int)get(j, key)->number; }

static json *read_json(const char *path) {
    size_t size;
    const char *s = read_file(path, &size);
    return parse(&s);
}

/* safetensors: 8 bytes of length, a JSON header, the numbers. */

typedef struct { json *header; const char *data; } tensors;

static tensors open_tensors(const char *path) {
    size_t size;
    const char *bytes = read_file(path, &size);
    uint64_t length = 0;
    for (int i = 0; i < 8; i++) length |= (uint64_t)(unsigned char)bytes[i] << 8 * i;
    const char *s = bytes + 8;
    return (tensors){parse(&s), bytes + 8 + length};
}

static double half(uint16_t h) {
    int e = h >> 10 & 31, m = h & 1023;
    double x = e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
    return h >> 15 ? -x : x;
}

static double *tensor(tensors file, const char *name) {
    json *t = get(file.header, name);
    if (!t) fail("no such tensor", name);
    const char *type = get(t, "dtype")->text;
    const char *data = file.data + (size_t)get(t, "data_offsets")->items[0]->number;
    size_t n = 1;
    for (int i = 0; i < get(t, "shape")->n; i++) n *= (size_t)get(t, "shape")->items[i]->number;
    double *x = need(n * sizeof *x);
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        uint32_t w;
        float f;
        if (!strcmp(type, "F64")) memcpy(x + i, data + 8 * i, 8);
        else if (!strcmp(type, "F32")) { memcpy(&f, data + 4 * i, 4); x[i] = f; }
        else if (!strcmp(type, "F16")) { memcpy(&h, data + 2 * i, 2); x[i] = half(h); }
        else if (!strcmp(type, "BF16")) { memcpy(&h, data + 2 * i, 2); w = (uint32_t)h << 16; memcpy(&f, &w, 4); x[i] = f; }
        else fail("unknown type", type);
    }
    return x;
}

/* The model. */

typedef struct { real *attention_norm, *q, *k, *v, *o, *ffn_norm, *gate, *down, *up; } layer;
typedef struct {
    int dim, layers, d, hidden, heads, kv, vocab, window, halves; /* window 0: none; halves: pairs (i, i + d/2) */
    double eps, theta;
    real *embedding, *norm, *output;
    layer *layer;
} model;
typedef struct { int length, slots; real *k, *v; } cache; /* k, v: (layers, slots, kv, d); position p in slot p % slots */

static real *weight(tensors file, const char *name) {
    double *x = tensor(file, name);
    json *shape = get(get(file.header, name), "shape");
    size_t n = 1;
    for (int i = 0; i < shape->n; i++) n *= (size_t)shape->items[i]->number;
    real *w = need(n * sizeof *w);
    for (size_t i = 0; i < n; i++) w[i] = (real)x[i];
    free(x);
    return w;
}

static real *of_layer(tensors file, int hf, int i, const char *mistral, const char *hugging_face) {
    char name[200];
    snprintf(name, sizeof name, "%slayers.%d.%s.weight", hf ? "model." : "", i, hf ? hugging_face : mistral);
    return weight(file, name);
}

static model load(const char *suite, const json *c) {
    json *config = get(c, "config");
    int hf = !strcmp(get(config, "layout")->text, "hf");
    char path[4096];
    snprintf(path, sizeof path, "%s/%s/%s.safetensors", suite, get(c, "model")->text, hf ? "model" : "consolidated");
    tensors f = open_tensors(path);
    model m = {count(config, "dim"), count(config, "n_layers"), count(config, "head_dim"), count(config, "hidden_dim"),
               count(config, "n_heads"), count(config, "n_kv_heads"), count(config, "vocab_size"),
               get(config, "window")->type == 'n' ? 0 : count(config, "window"), hf,
               get(config, "norm_eps")->number, get(config, "rope_theta")->number, NULL, NULL, NULL, NULL};
    m.embedding = weight(f, hf ? "model.embed_tokens.weight" : "tok_embeddings.weight");
    m.norm = weight(f, hf ? "model.norm.weight" : "norm.weight");
    m.output = count(config, "tied_embeddings") ? m.embedding : weight(f, hf ? "lm_head.weight" : "output.weight");
    m.layer = need((size_t)m.layers * sizeof *m.layer);
    for (int i = 0; i < m.layers; i++)
        m.layer[i] = (layer){of_layer(f, hf, i, "attention_norm", "input_layernorm"),
                             of_layer(f, hf, i, "attention.wq", "self_attn.q_proj"),
                             of_layer(f, hf, i, "attention.wk", "self_attn.k_proj"),
                             of_layer(f, hf, i, "attention.wv", "self_attn.v_proj"),
                             of_layer(f, hf, i, "attention.wo", "self_attn.o_proj"),
                             of_layer(f, hf, i, "ffn_norm", "post_attention_layernorm"),
                             of_layer(f, hf, i, "feed_forward.w1", "mlp.gate_proj"),
                             of_layer(f, hf, i, "feed_forward.w2", "mlp.down_proj"),
                             of_layer(f, hf, i, "feed_forward.w3", "mlp.up_proj")};
    return m;
}

/* y (n, out) = x (n, in) w (out, in)^T */
static real *linear(const real *x, const real *w, int n, int in, int out) {
    real *y = need((size_t)n * (size_t)out * sizeof *y);
    for (int t = 0; t < n; t++)
        for (int o = 0; o < out; o++)
            for (int i = 0; i < in; i++) y[t * out + o] += x[t * in + i] * w[o * in + i];
    return y;
}

static real *rms_norm(const real *x, const real *w, int n, int dim, double eps) {
    real *y = need((size_t)n * (size_t)dim * sizeof *y);
    for (int t = 0; t < n; t++) {
        real square = 0;
        for (int i = 0; i < dim; i++) square += x[t * dim + i] * x[t * dim + i];
        real rms = (real)sqrt(square / dim + eps);
        for (int i = 0; i < dim; i++) y[t * dim + i] = x[t * dim + i] / rms * w[i];
    }
    return y;
}

/* x (n, heads, d): pair i of a head is turned by position * theta^(-2i/d) */
static void rope(const model *m, real *x, int n, int heads, int start) {
    for (int t = 0; t < n; t++)
        for (int i = 0; i < m->d / 2; i++) {
            double angle = (start + t) * pow(m->theta, -2.0 * i / m->d);
            real cosine = (real)cos(angle), sine = (real)sin(angle);
            for (int h = 0; h < heads; h++) {
                real *head = x + (t * heads + h) * m->d;
                real *a = head + (m->halves ? i : 2 * i), *b = m->halves ? a + m->d / 2 : a + 1;
                real turned = *a * cosine - *b * sine;
                *b = *a * sine + *b * cosine;
                *a = turned;
            }
        }
}

/* Key or value of a position: in the chunk if it is there, or else in the ring. */
static const real *at(const model *m, const real *chunk, const real *ring, const cache *c, int position) {
    int width = m->kv * m->d;
    return position >= c->length ? chunk + (position - c->length) * width : ring + position % c->slots * width;
}

static real *attend(const model *m, const real *q, const real *k, const real *v, const cache *c, int i, int n) {
    size_t ring = (size_t)i * (size_t)(c->slots * m->kv * m->d);
    real *out = need((size_t)(n * m->heads * m->d) * sizeof *out);
    real *p = need((size_t)(c->length + n) * sizeof *p);
    for (int t = 0; t < n; t++)
        for (int h = 0; h < m->heads; h++) {
            int position = c->length + t, g = KV_HEAD(h, m->heads, m->kv) * m->d;
            int first = m->window ? FIRST_KEY(position, m->window) : 0;
            if (first < 0) first = 0;
            real largest = -INFINITY, total = 0;
            real *mine = out + (t * m->heads + h) * m->d;
            for (int s = first; s <= position; s++) {
                const real *key = at(m, k, c->k + ring, c, s) + g;
                p[s] = 0;
                for (int j = 0; j < m->d; j++) p[s] += q[(t * m->heads + h) * m->d + j] * key[j];
                p[s] /= (real)sqrt(m->d);
                if (p[s] > largest) largest = p[s];
            }
            for (int s = first; s <= position; s++) total += p[s] = (real)exp(p[s] - largest);
            for (int s = first; s <= position; s++) {
                const real *value = at(m, v, c->v + ring, c, s) + g;
                for (int j = 0; j < m->d; j++) mine[j] += p[s] / total * value[j];
            }
        }
    free(p);
    return out;
}

static void add(real *h, real *x, int n) {
    for (int i = 0; i < n; i++) h[i] += x[i];
    free(x);
}

/* n tokens, after those in the cache -> logits (n, vocab) */
static real *forward(const model *m, const json *tokens, cache *c, int n) {
    int width = m->kv * m->d, end = c->length + n;
    real *h = need((size_t)(n * m->dim) * sizeof *h);
    for (int t = 0; t < n; t++)
        memcpy(h + t * m->dim, m->embedding + (int)tokens->items[c->length + t]->number * m->dim, (size_t)m->dim * sizeof *h);
    for (int i = 0; i < m->layers; i++) {
        const layer *l = m->layer + i;
        real *x = rms_norm(h, l->attention_norm, n, m->dim, m->eps);
        real *q = linear(x, l->q, n, m->dim, m->heads * m->d);
        real *k = linear(x, l->k, n, m->dim, width), *v = linear(x, l->v, n, m->dim, width);
        rope(m, q, n, m->heads, c->length);
        rope(m, k, n, m->kv, c->length);
        real *a = attend(m, q, k, v, c, i, n);
        add(h, linear(a, l->o, n, m->heads * m->d, m->dim), n * m->dim);
        int kept = FIRST_KEPT(c->length, end, c->slots), last = kept + c->slots;
        for (int s = kept < c->length ? c->length : kept; s < end && s < last; s++) { /* now that all have read */
            size_t slot = (size_t)((i * c->slots + s % c->slots) * width);
            memcpy(c->k + slot, k + (s - c->length) * width, (size_t)width * sizeof *k);
            memcpy(c->v + slot, v + (s - c->length) * width, (size_t)width * sizeof *v);
        }
        free(x); free(q); free(k); free(v); free(a);
        x = rms_norm(h, l->ffn_norm, n, m->dim, m->eps);
        real *gate = linear(x, l->gate, n, m->dim, m->hidden), *up = linear(x, l->up, n, m->dim, m->hidden);
        for (int j = 0; j < n * m->hidden; j++) gate[j] = gate[j] / (1 + (real)exp(-gate[j])) * up[j];
        add(h, linear(gate, l->down, n, m->hidden, m->dim), n * m->dim);
        free(x); free(gate); free(up);
    }
    c->length = end;
    real *x = rms_norm(h, m->norm, n, m->dim, m->eps), *logits = linear(x, m->output, n, m->dim, m->vocab);
    free(h); free(x);
    return logits;
}

/* A safetensors file with one tensor. */
static void write_logits(const char *path, const real *logits, int rows, int vocab) {
    char header[200];
    unsigned long long bytes = (unsigned long long)rows * (unsigned)vocab * sizeof *logits;
    int length = snprintf(header, sizeof header, "{\"logits\":{\"dtype\":\"%s\",\"shape\":[%d,%d],\"data_offsets\":[0,%llu]}}",
                          sizeof(real) == 8 ? "F64" : "F32", rows, vocab, bytes);
    FILE *f = fopen(path, "wb");
    if (!f) fail("cannot be written", path);
    for (int i = 0; i < 8; i++) fputc(i < 2 ? length >> 8 * i & 255 : 0, f);
    fwrite(header, 1, (size_t)length, f);
    fwrite(logits, 1, bytes, f);
    if (fclose(f)) fail("cannot be written", path);
}

/* One case: run the calls, write the logits, and hold them to the right ones. */
static int run_case(const char *suite, const char *results, const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/cases/%s.json", suite, name);
    json *c = read_json(path), *sequences = get(c, "sequences"), *calls = get(c, "calls");
    model m = load(suite, c);
    cache *caches = need((size_t)sequences->n * sizeof *caches);
    real **own = need((size_t)sequences->n * sizeof *own);
    int rows = 0, passed = 1;
    for (int b = 0; b < sequences->n; b++) {
        int T = get(sequences->items[b], "tokens")->n;
        caches[b].slots = m.window ? m.window : T;
        size_t numbers = (size_t)(m.layers * caches[b].slots * m.kv * m.d);
        caches[b].k = need(numbers * sizeof(real));
        caches[b].v = need(numbers * sizeof(real));
        own[b] = need((size_t)(T * m.vocab) * sizeof(real));
        rows += T;
    }
    for (int call = 0; call < calls->n; call++)
        for (int b = 0; b < sequences->n; b++) {
            int n = (int)calls->items[call]->items[b]->number, start = caches[b].length;
            if (!n) continue;
            real *logits = forward(&m, get(sequences->items[b], "tokens"), caches + b, n);
            memcpy(own[b] + start * m.vocab, logits, (size_t)(n * m.vocab) * sizeof(real));
            free(logits);
        }
    real *all = need((size_t)(rows * m.vocab) * sizeof *all), *to = all;
    for (int b = 0; b < sequences->n; b++) {
        json *sequence = sequences->items[b];
        snprintf(path, sizeof path, "%s/%s", suite, get(sequence, "trace")->text);
        double *right = tensor(open_tensors(path), "logits"), off = 0, size = 0;
        int n = caches[b].length * m.vocab;
        for (int i = 0; i < n; i++) {
            off += (own[b][i] - right[i]) * (own[b][i] - right[i]);
            size += right[i] * right[i];
        }
        double budget = get(get(sequence, "budget"), sizeof(real) == 8 ? "float64" : "float32")->number;
        passed &= sqrt(off) <= budget * sqrt(size);
        memcpy(to, own[b], (size_t)n * sizeof *to);
        to += n;
        printf("%-20s %s error %.2e, allowed %.1e\n", name, sqrt(off) <= budget * sqrt(size) ? "passed" : "FAILED",
               sqrt(off / size), budget);
    }
    snprintf(path, sizeof path, "%s/%s.safetensors", results, name);
    write_logits(path, all, rows, m.vocab);
    return passed;
}

int main(int n, char **words) {
    if (n < 3) fail("usage: mistral SUITE RESULTS [LAST LEVEL]", words[0]);
    char path[4096];
    snprintf(path, sizeof path, "%s/index.json", words[1]);
    json *levels = get(read_json(path), "levels");
    int last = n > 3 ? atoi(words[3]) : levels->n, passed = 1;
    for (int i = 0; i < levels->n && count(levels->items[i], "level") <= last; i++) {
        json *cases = get(levels->items[i], "cases");
        for (int j = 0; j < cases->n; j++) passed &= run_case(words[1], words[2], cases->items[j]->text);
    }
    return !passed;
}
