/* The load client of the benchmarks: one thread, epoll, no library but libc.
 *
 *   load MODE name=value ... [hear | say=TEXT] ...
 *
 * Every mode opens `connections` WebSockets on 127.0.0.1:`port``path`, at most `flight` of them in their
 * handshake at a time, and takes each through the steps given in order: `hear` waits for one frame, `say` sends a
 * text. `pid` is the server's process; its processor time is read at the edges of what is measured. The figures are
 * printed as one JSON object.
 *
 *   rpc      `depth` requests in flight on each connection: every answer is followed by the next `request`, for
 *            `warmup` and then `seconds`. "####" in the request is replaced by a number from 1000 to 9999, so that no
 *            two requests in flight have one id. `also`, when given, follows every request and has no answer. The
 *            first answer contains `expect`, and all others are as long: errors are not measured.
 *   fan      The first connection sends `request`, upon which every connection gets `events` frames of at least
 *            `least` bytes (smaller ones are answers). Again and again for `seconds`, the first time unmeasured.
 *   stalled  As fan, with a request every `every` milliseconds and one event for each. The last `idle` connections
 *            are measured in no case; with stall=1 they read nothing, and begin anew every three seconds: the server
 *            will have thrown them out, of which a peer with a full socket hears nothing.
 *            With `upload` they do nothing but upload.
 *   upload   Every connection uploads `messages` binary messages of `size` bytes, without a pause, and then sends the
 *            text `also`, when given; the answer contains `expect`. When all are answered, again, for `seconds`; the
 *            first time is not measured. What is counted are megabytes of whole messages, and the latency is that of
 *            an upload. `upload` is the header of its first message (docs/protocol.md section 11).
 *   open     Opens the connections, prints how long that took, and holds them until standard input ends.
 *
 * Exit codes: 2 usage, 3 the server did something else than expected, or nothing for ten seconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_STEPS = 8, BATCH = 1024, PATIENCE_MS = 10000, ANEW_MS = 3000, FIRST_ID = 1000, IDS = 9000, ROOM = 1 << 16 };
enum { TEXT = 1, BINARY = 2, UPLOAD_CHUNK = 1, HAS_HEADER = 1, LAST = 2, CHUNK_HEAD = 10, FRAME_HEAD = 14 };

static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(3);
}

static void *need(void *memory) {
    if (!memory) fail("out of memory");
    return memory;
}

/* -- options ------------------------------------------------------------------------------------------------ */

static const char *mode, *path = "/", *request, *also, *expect, *upload;
static int port, pid, connections = 1, depth = 1, flight = 64, events = 1, least, every = 10, idle, stall;
static int size, messages = 1;
static double seconds = 1, warmup = 0.1;
static const char *steps[MAX_STEPS]; /* NULL: hear one frame; else: what to say */
static int step_count;

static void read_options(int count, char **given) {
    const struct { const char *name; const char **text; int *whole; double *real; } options[] = {
        {"port", 0, &port, 0}, {"path", &path, 0, 0}, {"pid", 0, &pid, 0}, {"connections", 0, &connections, 0},
        {"depth", 0, &depth, 0}, {"flight", 0, &flight, 0}, {"events", 0, &events, 0}, {"least", 0, &least, 0},
        {"every", 0, &every, 0}, {"idle", 0, &idle, 0}, {"stall", 0, &stall, 0}, {"seconds", 0, 0, &seconds},
        {"warmup", 0, 0, &warmup}, {"request", &request, 0, 0}, {"also", &also, 0, 0}, {"expect", &expect, 0, 0},
        {"upload", &upload, 0, 0}, {"size", 0, &size, 0}, {"messages", 0, &messages, 0},
    };
    mode = count > 1 ? given[1] : "";
    for (int i = 2; i < count; i++) {
        size_t known = 0, length = strcspn(given[i], "=");
        const char *value = given[i] + length + 1;
        if (!strcmp(given[i], "hear") || (length == 3 && !strncmp(given[i], "say", 3) && given[i][3])) {
            if (step_count == MAX_STEPS) { fprintf(stderr, "too many steps\n"); exit(2); }
            steps[step_count++] = given[i][length] ? value : NULL;
            continue;
        }
        while (known < sizeof options / sizeof *options
               && (strlen(options[known].name) != length || strncmp(options[known].name, given[i], length))) known++;
        if (known == sizeof options / sizeof *options || !given[i][length]) {
            fprintf(stderr, "what is %s?\n", given[i]);
            exit(2);
        }
        if (options[known].text) *options[known].text = value;
        if (options[known].whole) *options[known].whole = atoi(value);
        if (options[known].real) *options[known].real = atof(value);
    }
    if (!port || connections < 1 || depth < 1 || flight < 1 || idle >= connections
        || (strcmp(mode, "open") && !(strcmp(mode, "upload") ? request : upload))
        || (upload && (messages < 1 || size < CHUNK_HEAD + 2 + (int)strlen(upload)))) {
        fprintf(stderr, "a port, at least one connection and, except for open, a request or an upload with room for "
                        "its header are needed\n");
        exit(2);
    }
}

/* -- clocks and latencies ----------------------------------------------------------------------------------- */

static int64_t clock_ns(clockid_t clock) {
    struct timespec at;
    return clock_gettime(clock, &at) ? 0 : at.tv_sec * 1000000000LL + at.tv_nsec;
}

static int64_t now(void) { return clock_ns(CLOCK_MONOTONIC); }

static int64_t server_cpu(void) {
    clockid_t clock;
    return pid && !clock_getcpuclockid(pid, &clock) ? clock_ns(clock) : 0;
}

/* Durations in ns by their highest bit and the seven bits after it: to within 0.8 %. */
static uint32_t histogram[64 * 128];
static uint64_t recorded;

static void record(int64_t ns) {
    uint64_t value = ns < 128 ? 128 : (uint64_t)ns;
    int top = 63 - __builtin_clzll(value);
    histogram[top * 128 + ((value >> (top - 7)) & 127)]++;
    recorded++;
}

static double percentile_us(double share) {
    uint64_t seen = 0;
    for (int i = 0; i < 64 * 128; i++) {
        seen += histogram[i];
        if (recorded && seen >= share * recorded) return (double)(1ULL << (i / 128)) * (1 + i % 128 / 128.0) / 1e3;
    }
    return 0;
}

/* What is measured lies between two of these. */
typedef struct { int64_t at, server, client; } Edge;

static Edge edge(void) { return (Edge){now(), server_cpu(), clock_ns(CLOCK_PROCESS_CPUTIME_ID)}; }

/* `elapsed` may leave out pauses between the edges; processor times cannot. */
static void report(Edge from, Edge to, double elapsed, double done) {
    double wall = (to.at - from.at) / 1e9;
    if (!done) fail("nothing was answered");
    printf("{\"done\": %.0f, \"seconds\": %.6f, \"rate\": %.1f, \"cpu_us\": %.4f, \"server_busy\": %.4f, "
           "\"client_busy\": %.4f, \"p50_us\": %.2f, \"p99_us\": %.2f}\n",
           done, elapsed, done / elapsed, (to.server - from.server) / 1e3 / done,
           (to.server - from.server) / 1e9 / wall, (to.client - from.client) / 1e9 / wall, percentile_us(0.5),
           percentile_us(0.99));
    fflush(stdout);
}

/* -- frames ------------------------------------------------------------------------------------------------- */

/* A client's frame; the key differs from frame to frame, as it must. */
static size_t put_frame(unsigned char *to, int opcode, const char *payload, size_t length) {
    static uint32_t key = 0x9e3779b9;
    unsigned char mask[4];
    size_t at = 0;
    key = key * 1664525 + 1013904223;
    memcpy(mask, &key, 4);
    to[at++] = 0x80 | opcode;
    if (length < 126) {
        to[at++] = 0x80 | length;
    } else {
        int wide = length > 0xffff ? 8 : 2;
        to[at++] = 0x80 | (wide == 8 ? 127 : 126);
        while (wide--) to[at++] = (uint64_t)length >> 8 * wide & 255;
    }
    memcpy(to + at, mask, 4);
    at += 4;
    for (size_t i = 0; i < length; i++) to[at + i] = payload[i] ^ mask[i & 3];
    return at + length;
}

/* All requests one after the other, so that any number of consecutive ones is a single write. */
static unsigned char *requests;
static size_t request_size; /* with `also` */

static void make_requests(void) {
    char *text = need(strdup(request)), *number = strstr(text, "####");
    size_t length = strlen(text), also_length = also ? strlen(also) : 0, at = 0;
    /* One round more than there are ids: a write may begin anywhere in the first. */
    int total = IDS + depth;
    requests = need(malloc((length + also_length + 32) * total));
    for (int i = 0; i < total; i++) {
        char digits[12];
        snprintf(digits, sizeof digits, "%d", FIRST_ID + i % IDS);
        if (number) memcpy(number, digits, 4);
        at += put_frame(requests + at, TEXT, text, length);
        if (also) at += put_frame(requests + at, TEXT, also, also_length);
        if (!i) request_size = at;
    }
    free(text);
}

/* One whole upload, masked beforehand: sending it costs this client the copy to the kernel and nothing else. */
static unsigned char *uploaded;
static size_t uploaded_size;

static void make_upload(void) {
    size_t header = strlen(upload);
    unsigned char *message = need(malloc(size));
    uploaded = need(malloc((size_t)messages * (size + FRAME_HEAD) + (also ? strlen(also) + FRAME_HEAD : 0)));
    for (int seq = 0; seq < messages; seq++) {
        uint32_t stream = htonl(1), number = htonl(seq);
        uint16_t length = htons(header);
        for (int i = 0; i < size; i++) message[i] = seq + i;
        message[0] = UPLOAD_CHUNK;
        message[1] = (seq ? 0 : HAS_HEADER) | (seq == messages - 1 ? LAST : 0);
        memcpy(message + 2, &stream, 4);
        memcpy(message + 6, &number, 4);
        if (!seq) {
            memcpy(message + CHUNK_HEAD, &length, 2);
            memcpy(message + CHUNK_HEAD + 2, upload, header);
        }
        uploaded_size += put_frame(uploaded + uploaded_size, BINARY, (char *)message, size);
    }
    if (also) uploaded_size += put_frame(uploaded + uploaded_size, TEXT, also, strlen(also));
    free(message);
}

/* -- connections -------------------------------------------------------------------------------------------- */

typedef enum { CONNECTING, UPGRADING, STEPPING, OPEN, STALLED } State;

typedef struct {
    int fd, step;
    State state;
    unsigned char *in; /* bytes of an unfinished frame or head */
    size_t have, room;
    int64_t *sent; /* when the requests in flight were sent, a ring of `depth` */
    int oldest, next_id;
    uint64_t seen; /* events */
    size_t uploaded; /* bytes of the current upload */
    int64_t began; /* when it did */
    size_t answer; /* the size of every answer */
} Connection;

static int epoll;
static Connection *all;
static int opened;

static int64_t deadline_checked(int ready) {
    if (ready < 0 && errno != EINTR) fail("epoll: %s", strerror(errno));
    if (!ready) fail("the server did nothing for %d s", PATIENCE_MS / 1000);
    return now();
}

static void send_all(int fd, const void *data, size_t size) {
    const char *from = data;
    while (size) {
        ssize_t written = send(fd, from, size, MSG_NOSIGNAL);
        if (written >= 0) {
            from += written;
            size -= written;
        } else if (errno == EAGAIN) {
            struct pollfd writable = {fd, POLLOUT, 0};
            deadline_checked(poll(&writable, 1, PATIENCE_MS));
        } else {
            fail("send: %s", strerror(errno));
        }
    }
}

static void say(Connection *c, int opcode, const char *text, size_t length) {
    unsigned char *frame = need(malloc(length + 16));
    send_all(c->fd, frame, put_frame(frame, opcode, text, length));
    free(frame);
}

static int stalls(const Connection *c) { return stall && c - all >= connections - idle; }

static void begin(Connection *c) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct epoll_event interest = {.events = EPOLLOUT, .data.u32 = c - all};
    struct linger reset = {1, 0}; /* a reset at the end: no port is left in TIME_WAIT */
    int yes = 1, small = 4096;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) fail("socket: %s", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    if (stalls(c)) setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    if (connect(c->fd, (void *)&to, sizeof to) && errno != EINPROGRESS) fail("connect: %s", strerror(errno));
    c->state = CONNECTING;
    c->have = c->step = 0;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &interest)) fail("epoll_ctl: %s", strerror(errno));
}

static void connected(Connection *c) {
    struct epoll_event interest = {.events = EPOLLIN, .data.u32 = c - all};
    int error = 0;
    socklen_t size = sizeof error;
    char head[1024];
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) fail("connect: %s", strerror(error));
    epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &interest);
    int length = snprintf(head, sizeof head,
        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", path, port);
    if (length < 0 || (size_t)length >= sizeof head) fail("the path is too long");
    send_all(c->fd, head, length);
    c->state = UPGRADING;
}

/* Say what is to be said now; the connection is open when no step is left. */
static void advance(Connection *c) {
    while (c->step < step_count && steps[c->step]) {
        say(c, TEXT, steps[c->step], strlen(steps[c->step]));
        c->step++;
    }
    c->state = c->step < step_count ? STEPPING : OPEN;
    if (c->state != OPEN) return;
    opened++;
    if (stalls(c)) {
        struct epoll_event none = {.events = 0, .data.u32 = c - all}; /* errors and hang-ups are told all the same */
        epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &none);
        c->state = STALLED;
    }
}

/* One frame's header, when all of the frame is there: its size in all, else 0. */
static size_t frame_size(const unsigned char *at, size_t have, size_t *head, size_t *wanted) {
    uint64_t length;
    *head = 2;
    *wanted = 2;
    if (have < 2) return 0;
    length = at[1] & 127;
    if (at[1] & 128) fail("a server's frame is masked");
    if (length >= 126) {
        *head = length == 126 ? 4 : 10;
        *wanted = *head;
        if (have < *head) return 0;
        length = 0;
        for (size_t i = 2; i < *head; i++) length = length << 8 | at[i];
    }
    *wanted = *head + length;
    return have >= *wanted ? *wanted : 0;
}

static void check_answer(Connection *c, const char *payload, size_t size) {
    if (!c->answer && memmem(payload, size, expect, strlen(expect))) c->answer = size;
    if (size != c->answer) fail("not the answer expected: %.*s", (int)(size < 300 ? size : 300), payload);
}

/* Read what there is; how many data frames of at least `least` bytes were complete once the connection was open. */
static int receive(Connection *c) {
    int frames = 0;
    for (;;) {
        if (c->room - c->have < ROOM / 4) c->in = need(realloc(c->in, c->room = c->room ? c->room * 2 : ROOM));
        size_t free_room = c->room - c->have, at = 0, size, head, wanted = 0;
        ssize_t got = recv(c->fd, c->in + c->have, free_room, 0);
        if (got < 0 && errno == EAGAIN) return frames;
        if (got <= 0) fail("the server closed connection %ld: %s", (long)(c - all), got ? strerror(errno) : "no reason");
        c->have += got;
        if (c->state == UPGRADING) {
            unsigned char *end = memmem(c->in, c->have, "\r\n\r\n", 4);
            if (!end) continue;
            if (memcmp(c->in, "HTTP/1.1 101 ", 13)) fail("no WebSocket: %.*s", (int)c->have, c->in);
            at = end + 4 - c->in;
            advance(c);
        }
        while ((size = frame_size(c->in + at, c->have - at, &head, &wanted))) {
            int opcode = c->in[at] & 15;
            const char *payload = (char *)c->in + at + head;
            if (opcode == 8) fail("closed: %.*s", (int)(size - head > 2 ? size - head - 2 : 0), payload + 2);
            if (opcode == 9) say(c, 10, payload, size - head);
            if (opcode < 8) {
                if (c->state == STEPPING) {
                    c->step++;
                    advance(c);
                } else {
                    if (expect) check_answer(c, payload, size - head);
                    frames += size - head >= (size_t)least;
                }
            }
            at += size;
        }
        memmove(c->in, c->in + at, c->have - at);
        c->have -= at;
        if ((size_t)got < free_room) return frames; /* the socket is empty: spare the EAGAIN */
    }
}

/* Open what is given and not open yet; used before the measurement only. */
static void open_all(void) {
    struct epoll_event ready[BATCH];
    int started = 0;
    while (opened < connections) {
        while (started < connections && started - opened < flight) begin(&all[started++]);
        int count = epoll_wait(epoll, ready, BATCH, PATIENCE_MS);
        deadline_checked(count);
        for (int i = 0; i < count; i++) {
            Connection *c = &all[ready[i].data.u32];
            if (c->state == CONNECTING) connected(c);
            else if (c->state != STALLED) receive(c);
        }
    }
}

/* -- modes -------------------------------------------------------------------------------------------------- */

static void ask(Connection *c, int count, int64_t at) {
    for (int i = 0; i < count; i++) c->sent[(c->oldest + i) % depth] = at;
    c->oldest = (c->oldest + count) % depth;
    send_all(c->fd, requests + c->next_id * request_size, count * request_size);
    c->next_id = (c->next_id + count) % IDS;
}

static void run_rpc(void) {
    struct epoll_event ready[BATCH];
    int64_t start = now(), from = start + (int64_t)(warmup * 1e9), until = from + (int64_t)(seconds * 1e9), at = start;
    uint64_t done = 0, waiting = (uint64_t)connections * depth;
    Edge first = {0}, last = {0};
    for (int i = 0; i < connections; i++) {
        all[i].sent = need(calloc(depth, sizeof *all[i].sent));
        all[i].next_id = i * 37 % IDS;
        ask(&all[i], depth, now());
    }
    /* After the end nothing new is asked, and what is in flight is waited for: the server ends idle. */
    while (waiting) {
        int count = epoll_wait(epoll, ready, BATCH, PATIENCE_MS);
        at = deadline_checked(count);
        if (!first.at && at >= from) {
            first = edge();
            done = 0;
        }
        if (!last.at && at >= until) last = edge();
        for (int i = 0; i < count; i++) {
            Connection *c = &all[ready[i].data.u32];
            int answers = receive(c);
            if (!answers) continue;
            if (answers > depth) fail("%d answers to %d requests", answers, depth);
            if (last.at) {
                waiting -= answers;
                continue;
            }
            at = now();
            for (int k = 0; first.at && k < answers; k++) record(at - c->sent[(c->oldest + k) % depth]);
            done += answers;
            ask(c, answers, at);
        }
    }
    report(first, last, (last.at - first.at) / 1e9, done);
}

static void run_fan(void) {
    struct epoll_event ready[BATCH];
    uint64_t each = (uint64_t)connections * events, done = 0;
    double elapsed = 0;
    Edge first = {0}, last;
    for (int round = 0; elapsed < seconds; round++) {
        int64_t start = now(), arrived = start;
        uint64_t got = 0;
        int64_t heard = start;
        if (round == 1) first = edge();
        say(&all[0], TEXT, request, strlen(request));
        while (got < each) {
            /* Looking every millisecond instead of sleeping until something comes: subscribers elsewhere would not
             * have to be woken by the server's processor either. */
            struct timespec nap = {0, 1000000};
            nanosleep(&nap, NULL);
            int count = epoll_wait(epoll, ready, BATCH, 0);
            if (count < 0 && errno != EINTR) fail("epoll: %s", strerror(errno));
            while (count > 0) {
                for (int i = 0; i < count; i++) got += receive(&all[ready[i].data.u32]);
                heard = arrived = now();
                count = epoll_wait(epoll, ready, BATCH, 0);
            }
            if (now() - heard > PATIENCE_MS * 1000000LL)
                fail("%llu of %llu events came", (unsigned long long)got, (unsigned long long)each);
        }
        if (got > each) fail("more events came than were published");
        if (!round) continue;
        elapsed += (arrived - start) / 1e9;
        done += got;
    }
    last = edge();
    report(first, last, elapsed, done);
}

/* Send what the socket takes of an upload; it is asked for more only while there is some. */
static void push(Connection *c) {
    struct epoll_event interest = {.events = EPOLLIN, .data.u32 = c - all};
    if (!c->uploaded) {
        c->began = now();
        interest.events |= EPOLLOUT;
        epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &interest);
    }
    ssize_t written = send(c->fd, uploaded + c->uploaded, uploaded_size - c->uploaded, MSG_NOSIGNAL);
    if (written < 0 && errno != EAGAIN) fail("send: %s", strerror(errno));
    if (written > 0) c->uploaded += written;
    if (c->uploaded < uploaded_size) return;
    interest.events = EPOLLIN;
    epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &interest);
}

/* Whether the upload of a connection that is ready is answered. */
static int uploads(Connection *c, uint32_t what) {
    if (what & EPOLLOUT) push(c);
    if (!(what & ~EPOLLOUT) || !receive(c)) return 0;
    if (c->uploaded < uploaded_size) fail("an upload was answered before its end");
    c->uploaded = 0;
    return 1;
}

static void run_stalled(void) {
    struct epoll_event ready[BATCH];
    int64_t step = every * 1000000LL, start = now(), from = start + (int64_t)(warmup * 1e9);
    int64_t until = from + (int64_t)(seconds * 1e9), at = start;
    int64_t anew = start + ANEW_MS * 1000000LL;
    uint64_t asked = 0, most = (uint64_t)((until - start) / step) + 2, done = 0;
    int64_t *times = need(calloc(most, sizeof *times));
    Edge first = {0}, last = {0};
    for (int i = connections - idle; upload && i < connections; i++) push(&all[i]);
    while (at < until) {
        /* A late request is counted from when it was due, or a slow server would slow its own load. */
        while (asked < most && start + (int64_t)asked * step <= at) {
            times[asked] = start + (int64_t)asked * step;
            asked++;
            say(&all[0], TEXT, request, strlen(request));
        }
        int64_t wait = (start + (int64_t)asked * step - at) / 1000000;
        int count = epoll_wait(epoll, ready, BATCH, wait < 0 ? 0 : (int)wait);
        if (count < 0 && errno != EINTR) fail("epoll: %s", strerror(errno));
        at = now();
        if (!first.at && at >= from) first = edge();
        if (stall && at >= anew) {
            for (Connection *c = all + connections - idle; c < all + connections; c++) {
                close(c->fd);
                begin(c);
            }
            anew += ANEW_MS * 1000000LL;
            continue; /* what is ready may be about a socket of the past */
        }
        for (int i = 0; i < count; i++) {
            Connection *c = &all[ready[i].data.u32];
            if (c->state == CONNECTING) {
                connected(c);
            } else if (c->state == STALLED) {
                epoll_ctl(epoll, EPOLL_CTL_DEL, c->fd, NULL); /* cut off, as it should be */
            } else if (upload && c - all >= connections - idle) {
                if (uploads(c, ready[i].events)) push(c);
            } else {
                int came = receive(c);
                int64_t arrived = now();
                for (int k = 0; k < came; k++, c->seen++) {
                    if (c - all >= connections - idle || c->seen >= asked) continue;
                    if (times[c->seen] < from) continue;
                    record(arrived - times[c->seen]);
                    done++;
                }
            }
        }
    }
    last = edge();
    report(first, last, (last.at - first.at) / 1e9, done);
}

static void run_upload(void) {
    struct epoll_event ready[BATCH];
    double megabytes = (double)messages * size / 1e6, elapsed = 0;
    uint64_t done = 0;
    Edge first = {0}, last;
    for (int round = 0; elapsed < seconds; round++) {
        int64_t start = now(), at = start;
        if (round == 1) first = edge();
        for (int i = 0; i < connections; i++) push(&all[i]);
        for (int waiting = connections; waiting;) {
            int count = epoll_wait(epoll, ready, BATCH, PATIENCE_MS);
            deadline_checked(count);
            for (int i = 0; i < count; i++) {
                Connection *c = &all[ready[i].data.u32];
                if (!uploads(c, ready[i].events)) continue;
                at = now();
                waiting--;
                if (round) record(at - c->began);
                else c->answer = 0; /* the first answer says more than later ones */
            }
        }
        if (!round) continue;
        elapsed += (at - start) / 1e9;
        done += connections;
    }
    last = edge();
    report(first, last, elapsed, done * megabytes);
}

static void run_open(Edge from) {
    Edge to = edge();
    char ignored[64];
    report(from, to, (to.at - from.at) / 1e9, connections);
    while (read(STDIN_FILENO, ignored, sizeof ignored) > 0) continue;
}

int main(int count, char **given) {
    read_options(count, given);
    if (request && !strcmp(mode, "rpc")) make_requests();
    if (upload) make_upload();
    epoll = epoll_create1(EPOLL_CLOEXEC);
    all = need(calloc(connections, sizeof *all));
    Edge from = edge();
    open_all();
    if (!strcmp(mode, "rpc")) run_rpc();
    else if (!strcmp(mode, "fan")) run_fan();
    else if (!strcmp(mode, "stalled")) run_stalled();
    else if (!strcmp(mode, "upload")) run_upload();
    else if (!strcmp(mode, "open")) run_open(from);
    else { fprintf(stderr, "the modes are rpc, fan, stalled, upload and open\n"); return 2; }
    return 0;
}
