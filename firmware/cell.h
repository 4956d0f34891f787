/*
 * cell.h: Cell's vesicles on a microcontroller. One freestanding C99 header: no
 * heap, no libc (compilers may call memcpy and memset for structures, as they
 * do in any program), buffers that the caller provides.
 *
 * A vesicle is a header of 20 bytes and its payload (docs/WIRE.md). On a serial
 * line it travels as one frame: 0x00, COBS(line header, payload, check), 0x00
 * (docs/SERIAL.md). This file has both formats and a node, which serves methods
 * and calls others over one line:
 *
 *	static uint8_t in[CELL_LINE_BUFFER(64)], out[CELL_LINE_BUFFER(64)];
 *	static const cell_method methods[] = { { 0x1d2c...u, read_sensor } };
 *	static cell_node node;
 *
 *	cell_node_init(&node, in, out, 64u, methods, 1u, uart_write, NULL, session);
 *	for (;;) { cell_node_byte(&node, uart_read()); }
 *
 * Every function is static inline: what is not called takes no room. None is
 * reentrant on the same node; call them from one context, and let interrupts
 * only fill a queue of bytes. Numbers on the wire are little endian and
 * unaligned; the host's byte order does not matter.
 *
 * Written with MISRA C:2012 in mind: no recursion, no heap, no goto, bounded
 * loops, fixed-width types. Pointers to functions are the one deviation, for
 * they are what a dispatch table is.
 */
#ifndef CELL_H
#define CELL_H

#include <stddef.h>
#include <stdint.h>

/* What stands before every function; a compiler that inlines too eagerly may
 * want another. */
#ifndef CELL_API
#if defined(__GNUC__)
/* "inline" would have gcc inline more than -Os means to. */
#define CELL_API static __attribute__((unused))
#else
#define CELL_API static inline
#endif
#endif

/* ---- vesicles: docs/WIRE.md ---- */

#define CELL_VERSION 1u
#define CELL_HEADER_SIZE 20u
#define CELL_DEADLINE_SIZE 8u  /* prefix of CELL_FLAG_DEADLINE */
#define CELL_FRAGMENT_SIZE 12u /* prefix of CELL_FLAG_FRAGMENT */
#define CELL_MAX_LENGTH 0x40000000u

/* Kinds. */
#define CELL_REQUEST 1u
#define CELL_REPLY 2u
#define CELL_ERROR 3u
#define CELL_EVENT 4u
#define CELL_STREAM_ITEM 5u
#define CELL_CREDIT 6u
#define CELL_CANCEL 7u
#define CELL_CONTROL 8u

/* Flags. */
#define CELL_FLAG_MORE 0x01u
#define CELL_FLAG_END 0x02u
#define CELL_FLAG_DEADLINE 0x04u
#define CELL_FLAG_PRIORITY 0x18u
#define CELL_FLAG_FRAGMENT 0x20u

/* The statuses that firmware is likely to use; docs/WIRE.md has them all. */
#define CELL_STATUS_OK 0u
#define CELL_STATUS_CANCELED 1u
#define CELL_STATUS_UNKNOWN 2u
#define CELL_STATUS_INVALID_ARGUMENT 3u
#define CELL_STATUS_RESOURCE_EXHAUSTED 8u
#define CELL_STATUS_FAILED_PRECONDITION 9u
#define CELL_STATUS_OUT_OF_RANGE 11u
#define CELL_STATUS_UNIMPLEMENTED 12u
#define CELL_STATUS_INTERNAL 13u
#define CELL_STATUS_UNAVAILABLE 14u
#define CELL_STATUS_TOO_LARGE 33u
/* A handler's answer that is none yet: it will send one itself. */
#define CELL_STATUS_LATER 0xFFu

/* How many forwarders a vesicle that starts here may pass. */
#define CELL_HOPS 16u

/* What became of bytes. From CELL_BAD_VERSION on it is why they were refused. */
typedef enum {
	CELL_OK = 0,
	CELL_MORE, /* not yet a whole frame */
	CELL_BAD_VERSION,
	CELL_BAD_KIND,
	CELL_BAD_FLAGS,
	CELL_BAD_CHANNEL,
	CELL_BAD_LENGTH,
	CELL_BAD_PREFIX,
	CELL_BAD_COBS, /* a code points beyond the frame */
	CELL_BAD_SIZE, /* no frame has that many bytes */
	CELL_BAD_CRC,
	CELL_BAD_FORM, /* not a vesicle: unknown form, or cut short */
	CELL_TOO_LONG  /* more than the buffer takes */
} cell_result;

typedef struct {
	uint64_t fingerprint; /* of the method or topic */
	uint32_t length;      /* of the payload, in bytes */
	uint32_t correlation; /* chosen by the caller, echoed by answers */
	uint8_t kind;
	uint8_t flags;
	uint8_t channel;
	uint8_t hops;
} cell_header;

/* cell_get reads a number of size bytes, up to 4. */
CELL_API uint32_t cell_get(const uint8_t *b, uint32_t size) {
	uint32_t x = 0u;
	uint32_t i;

	for (i = size; i > 0u; i--) {
		x = (x << 8) | b[i - 1u];
	}
	return x;
}

/* cell_put writes a number of size bytes. */
CELL_API void cell_put(uint8_t *b, uint32_t x, uint32_t size) {
	uint32_t i;

	for (i = 0u; i < size; i++) {
		b[i] = (uint8_t)x;
		x >>= 8;
	}
}

CELL_API uint32_t cell_get32(const uint8_t *b) { return cell_get(b, 4u); }
CELL_API void cell_put32(uint8_t *b, uint32_t x) { cell_put(b, x, 4u); }

CELL_API uint64_t cell_get64(const uint8_t *b) {
	return (uint64_t)cell_get32(b) | ((uint64_t)cell_get32(&b[4]) << 32);
}

CELL_API void cell_put64(uint8_t *b, uint64_t x) {
	cell_put32(b, (uint32_t)x);
	cell_put32(&b[4], (uint32_t)(x >> 32));
}

/* cell_header_check returns the first reason why h, apart from its length, may
 * not be acted upon, in the order of docs/WIRE.md, or CELL_OK. */
CELL_API cell_result cell_header_check(const cell_header *h) {
	const uint32_t flags = h->flags;
	cell_result result = CELL_OK;

	if ((h->kind == 0u) || (h->kind > CELL_CONTROL)) {
		result = CELL_BAD_KIND;
	} else if (((flags & 0xC0u) != 0u) || ((flags & (CELL_FLAG_MORE | CELL_FLAG_FRAGMENT)) == CELL_FLAG_MORE)) {
		result = CELL_BAD_FLAGS;
	} else if (h->channel > 3u) {
		result = CELL_BAD_CHANNEL;
	} else if (((flags & CELL_FLAG_FRAGMENT) != 0u) ? (h->length < CELL_FRAGMENT_SIZE)
	                                                : (((flags & CELL_FLAG_DEADLINE) != 0u) && (h->length < CELL_DEADLINE_SIZE))) {
		result = CELL_BAD_PREFIX;
	} else {
		/* a header */
	}
	return result;
}

/* cell_header_get reads the 20 bytes of a header and checks it. */
CELL_API cell_result cell_header_get(cell_header *h, const uint8_t *b) {
	cell_result result;

	h->length = cell_get32(b);
	h->fingerprint = cell_get64(&b[4]);
	h->correlation = cell_get32(&b[12]);
	h->kind = b[16] & 0x0Fu;
	h->flags = b[17];
	h->channel = b[18];
	h->hops = b[19];
	result = cell_header_check(h);
	if ((b[16] >> 4) != CELL_VERSION) {
		result = CELL_BAD_VERSION;
	} else if ((h->length > CELL_MAX_LENGTH) && (result == CELL_OK)) {
		result = CELL_BAD_LENGTH; /* so long that no prefix is missing */
	} else {
		/* as checked */
	}
	return result;
}

/* cell_header_put writes the 20 bytes of a header. */
CELL_API void cell_header_put(uint8_t *b, const cell_header *h) {
	cell_put32(b, h->length);
	cell_put64(&b[4], h->fingerprint);
	cell_put32(&b[12], h->correlation);
	b[16] = (uint8_t)((CELL_VERSION << 4) | h->kind);
	b[17] = h->flags;
	b[18] = h->channel;
	b[19] = h->hops;
}

/* ---- checks ---- */

#define CELL_CRC16 0x8408u      /* CRC-16/X-25, reflected; starts with 0xFFFF */
#define CELL_CRC32C 0x82F63B78u /* CRC-32C, reflected; starts with 0xFFFFFFFF */

/* cell_crc goes on with a reflected CRC, bit by bit: a table would take more
 * room than a UART takes time. The caller inverts the last value. */
CELL_API uint32_t cell_crc(uint32_t crc, const uint8_t *b, size_t n, uint32_t polynomial) {
	size_t i;
	uint32_t bit;

	for (i = 0u; i < n; i++) {
		crc ^= b[i];
		for (bit = 0u; bit < 8u; bit++) {
			crc = (crc >> 1) ^ (polynomial & (0u - (crc & 1u)));
		}
	}
	return crc;
}

/* ---- the serial line: docs/SERIAL.md ---- */

#define CELL_LINE_SHORT 8u   /* bodies up to here have a check of 16 bits */
#define CELL_LINE_HEADER 16u /* the longest header on the line without a window */
#define CELL_LINE_CHECK 4u

/* How many bytes a buffer for payloads of up to n bytes needs. */
#define CELL_LINE_BUFFER(n) (CELL_LINE_HEADER + (n) + CELL_LINE_CHECK)

#define CELL_LINE_HELLO 9u
#define CELL_LINE_ACK 10u
#define CELL_LINE_BYE 11u
#define CELL_LINE_HELLO_SIZE 16u
#define CELL_LINE_VERSION 1u
#define CELL_LINE_ASK 1u

/* cell_line_check_size returns how long the check of a body of n bytes is. */
CELL_API uint32_t cell_line_check_size(size_t n) { return (n > CELL_LINE_SHORT) ? 4u : 2u; }

/* cell_line_check returns the check of a body of n bytes. */
CELL_API uint32_t cell_line_check(const uint8_t *b, size_t n) {
	uint32_t mask = 0xFFFFFFFFu;
	uint32_t polynomial = CELL_CRC32C;

	if (n <= CELL_LINE_SHORT) {
		mask = 0xFFFFu;
		polynomial = CELL_CRC16;
	}
	return cell_crc(mask, b, n, polynomial) ^ mask;
}

/* A receiver of frames, which decodes as the bytes come. */
typedef struct {
	uint8_t *buffer;
	uint32_t size; /* of buffer */
	uint32_t n;    /* decoded bytes, size + 1 for more; after CELL_OK, the length of the body */
	uint32_t code; /* of the block at hand; 0 between frames */
	uint32_t left; /* bytes of it that have not come */
} cell_line;

/* cell_line_end judges what stood before a delimiter. */
CELL_API cell_result cell_line_end(cell_line *l) {
	const uint32_t size = (l->n > (CELL_LINE_SHORT + 4u)) ? 4u : 2u;
	const uint32_t n = l->n - size;
	cell_result result = CELL_OK;

	if (l->code == 0u) {
		result = CELL_MORE; /* between two delimiters */
	} else if (l->n > l->size) {
		result = CELL_TOO_LONG;
	} else if (l->left != 0u) {
		result = CELL_BAD_COBS;
	} else if ((size == 2u) && ((n - 1u) >= CELL_LINE_SHORT)) {
		result = CELL_BAD_SIZE; /* n may have gone below 0, and counts as large */
	} else if (cell_get(&l->buffer[n], size) != cell_line_check(l->buffer, n)) {
		result = CELL_BAD_CRC;
	} else {
		l->n = n;
	}
	return result;
}

/* cell_line_byte takes a byte from the line. CELL_OK: buffer[0..n) is the body
 * of a frame, until the next call. CELL_MORE: go on. Anything else: what stood
 * before this delimiter was dropped, and why. */
CELL_API cell_result cell_line_byte(cell_line *l, uint8_t b) {
	cell_result result = CELL_MORE;
	uint32_t keep = 1u;
	uint8_t data = b;

	if (b == 0u) {
		result = cell_line_end(l);
		l->code = 0u;
		l->left = 0u;
		keep = 0u;
	} else if (l->left != 0u) {
		l->left--;
	} else {
		/* A code, before which the zero of the last block belongs. */
		data = 0u;
		if (l->code == 0u) {
			l->n = 0u;
			keep = 0u;
		} else if (l->code == 0xFFu) {
			keep = 0u;
		} else {
			/* not the first block, and the last was not full */
		}
		l->code = b;
		l->left = b - 1u;
	}
	if ((keep != 0u) && (l->n <= l->size)) {
		if (l->n < l->size) {
			l->buffer[l->n] = data;
		}
		l->n++;
	}
	return result;
}

/* The line header: form, fingerprint, correlation, and, if the form says so, a
 * tail of flags, channel and hops. */
#define CELL_LINE_TAIL 0x10u
#define CELL_LINE_TAIL_AT 13u

/* cell_line_get reads the line header of a body of n bytes and checks it. The
 * payload is the body's last h->length bytes. Frames of a window are refused: cell_hello says
 * that there is none. */
CELL_API cell_result cell_line_get(cell_header *h, const uint8_t *body, size_t n) {
	static const uint8_t usual[3] = {0u, 0u, CELL_HOPS};
	const uint8_t *tail = usual;
	const uint32_t form = body[0];
	size_t end = CELL_LINE_TAIL_AT;
	cell_result result = CELL_BAD_FORM;

	if ((form & CELL_LINE_TAIL) != 0u) {
		tail = &body[CELL_LINE_TAIL_AT];
		end += 3u;
	}
	if ((n >= end) && ((form & 0xE0u) == 0u)) {
		h->kind = (uint8_t)(form & 0x0Fu);
		h->flags = tail[0];
		h->channel = tail[1];
		h->hops = tail[2];
		h->fingerprint = cell_get64(&body[1]);
		h->correlation = cell_get32(&body[9]);
		h->length = (uint32_t)(n - end);
		result = cell_header_check(h);
	}
	return result;
}

/* cell_line_put writes the shortest line header right before a payload that
 * begins at body[CELL_LINE_HEADER], and returns where it begins. */
CELL_API size_t cell_line_put(uint8_t *body, const cell_header *h) {
	size_t at = CELL_LINE_HEADER - CELL_LINE_TAIL_AT;
	uint32_t form = h->kind;

	if (((uint32_t)h->flags | h->channel | (h->hops ^ CELL_HOPS)) != 0u) {
		form |= CELL_LINE_TAIL;
		at = 0u;
		body[CELL_LINE_TAIL_AT] = h->flags;
		body[CELL_LINE_TAIL_AT + 1u] = h->channel;
		body[CELL_LINE_TAIL_AT + 2u] = h->hops;
	}
	body[at] = (uint8_t)form;
	cell_put64(&body[at + 1u], h->fingerprint);
	cell_put32(&body[at + 9u], h->correlation);
	return at;
}

/* cell_write puts a byte on the line: into the UART, or a queue before it. It may
 * wait, and must take it. */
typedef void (*cell_write)(void *port, uint8_t b);

/* cell_line_send writes the frame of body[0..n). The body has room for a check
 * of CELL_LINE_CHECK bytes behind it. */
CELL_API void cell_line_send(uint8_t *body, size_t n, cell_write write, void *port) {
	const uint32_t size = cell_line_check_size(n);
	const uint8_t *const end = &body[n + size];
	const uint8_t *at = body; /* where the block at hand begins */
	const uint8_t *next;
	uint32_t code;
	uint32_t more;

	cell_put(&body[n], cell_line_check(body, n), size);
	write(port, 0u);
	do {
		next = at;
		code = 1u;
		while ((next != end) && (*next != 0u) && (code != 0xFFu)) {
			next++;
			code++;
		}
		write(port, (uint8_t)code);
		for (; at != next; at++) {
			write(port, *at);
		}
		/* Unless it is full, a block stands for the zero behind it. After the
		 * last byte that zero does not count. */
		more = (at != end) ? 1u : 0u;
		if ((more != 0u) && (code != 0xFFu)) {
			at++;
		}
	} while (more != 0u);
	write(port, 0u);
}

/* ---- a node: methods that are served over one line ---- */

struct cell_node;

/* What a handler works with. Request and reply are in one buffer, and the reply
 * begins no later than the request: read before you write. */
typedef struct {
	struct cell_node *node;
	cell_header header;     /* as it came, but for a deadline prefix, which is taken off */
	const uint8_t *request; /* payload, header.length bytes */
	uint8_t *reply;         /* where to write the answer, up to the node's limit */
	uint32_t replied;       /* length of the answer; 0 at first */
} cell_call;

/* A handler returns a status: CELL_STATUS_OK sends the reply, CELL_STATUS_LATER
 * nothing, any other an error. Only requests are answered; for vesicles of other
 * kinds the status does not matter. */
typedef uint8_t (*cell_handler)(cell_call *c);

/* Which kinds of vesicle a handler is called for: bit k for kind k. Methods that
 * this side calls elsewhere have an entry too, for the answers. */
#define CELL_ON(kind) (1u << (kind))
#define CELL_ON_UNARY CELL_ON(CELL_REQUEST)
#define CELL_ON_ONE_WAY CELL_ON(CELL_EVENT)
#define CELL_ON_STREAM \
	(CELL_ON(CELL_REQUEST) | CELL_ON(CELL_STREAM_ITEM) | CELL_ON(CELL_CREDIT) | CELL_ON(CELL_CANCEL))
#define CELL_ON_ANSWER (CELL_ON(CELL_REPLY) | CELL_ON(CELL_ERROR) | CELL_ON(CELL_STREAM_ITEM) | CELL_ON(CELL_CREDIT))

typedef struct {
	uint64_t fingerprint;
	cell_handler handler;
	uint32_t kinds; /* CELL_ON_UNARY, … */
} cell_method;

typedef struct cell_node {
	cell_line line;
	const cell_method *methods;
	const cell_method *end; /* of methods */
	cell_write write;
	void *port;
	uint32_t session; /* of this side: another number after each start, never 0 */
	uint32_t peer;    /* the other side's; it changes when that starts anew */
} cell_node;

/* cell_send sends a vesicle. Its payload of h->length bytes stands at
 * &out[CELL_LINE_HEADER] in a buffer of CELL_LINE_BUFFER(length) bytes, which
 * need not be kept. */
CELL_API void cell_send(const cell_node *n, uint8_t *out, const cell_header *h) {
	const size_t at = cell_line_put(out, h);

	cell_line_send(&out[at], CELL_LINE_HEADER - at + h->length, n->write, n->port);
}

/* cell_hello introduces this side. Call it once after cell_node_init, so that a
 * host that waits learns at once that the device is up. */
CELL_API void cell_hello(const cell_node *n) {
	uint8_t *b = n->line.buffer;

	cell_put32(b, CELL_LINE_HELLO | (CELL_LINE_VERSION << 8)); /* no question, no window */
	cell_put32(&b[4], n->session);
	cell_put32(&b[8], n->peer);
	cell_put32(&b[12], n->line.size - CELL_LINE_BUFFER(0u));
	cell_line_send(b, CELL_LINE_HELLO_SIZE, n->write, n->port);
}

/* cell_dispatch hands the vesicle in the line's buffer, whose header is in c, to
 * its handler and sends what that answers. */
CELL_API void cell_dispatch(cell_call *c) {
	const cell_node *n = c->node;
	const cell_method *m = n->methods;
	uint8_t *b = n->line.buffer;
	const size_t at = n->line.n - c->header.length;
	uint8_t status = CELL_STATUS_UNIMPLEMENTED;

	c->reply = &b[at];
	c->request = c->reply;
	c->replied = 0u;
	if ((c->header.flags & CELL_FLAG_DEADLINE) != 0u) {
		c->request += CELL_DEADLINE_SIZE;
		c->header.length -= CELL_DEADLINE_SIZE;
	}
	if ((c->header.flags & CELL_FLAG_FRAGMENT) != 0u) {
		status = CELL_STATUS_TOO_LARGE; /* nothing here puts pieces together */
		m = n->end;
	}
	for (; m != n->end; m++) {
		if ((m->fingerprint == c->header.fingerprint) && (((m->kinds >> c->header.kind) & 1u) != 0u)) {
			status = m->handler(c);
			break;
		}
	}
	if ((c->header.kind == CELL_REQUEST) && (status != CELL_STATUS_LATER)) {
		/* The answer's header is the request's, but for these: */
		b[0]++; /* CELL_REPLY */
		if (status != CELL_STATUS_OK) {
			b[0]++; /* CELL_ERROR, with a status and no message */
			c->replied = 8u;
			cell_put(c->reply, status, 8u);
		}
		if (at != CELL_LINE_TAIL_AT) {
			b[CELL_LINE_TAIL_AT] &= CELL_FLAG_PRIORITY;
			b[CELL_LINE_TAIL_AT + 2u] = CELL_HOPS;
		}
		cell_line_send(b, at + c->replied, n->write, n->port);
	}
}

/* cell_node_byte takes a byte from the line and does what follows from it:
 * answers, calls a handler, or drops what is no frame. It returns what
 * cell_line_byte or cell_line_get said; only who counts needs it. */
CELL_API cell_result cell_node_byte(cell_node *n, uint8_t byte) {
	const uint8_t *b = n->line.buffer;
	cell_call c;
	cell_result result = cell_line_byte(&n->line, byte);

	if (result == CELL_OK) {
		if ((b[0] == CELL_LINE_HELLO) && (n->line.n >= CELL_LINE_HELLO_SIZE)) {
			n->peer = cell_get32(&b[4]);
			if ((b[2] & CELL_LINE_ASK) != 0u) {
				cell_hello(n);
			}
		} else {
			c.node = n;
			result = cell_line_get(&c.header, b, n->line.n);
			if (result == CELL_OK) {
				cell_dispatch(&c);
			}
		}
	}
	return result;
}

/* cell_node_init prepares a node. buffer has CELL_LINE_BUFFER(limit) bytes,
 * limit at least 20 and at most 65,000. */
CELL_API void cell_node_init(cell_node *n, uint8_t *buffer, uint32_t limit, const cell_method *methods, uint32_t count,
                             cell_write write, void *port, uint32_t session) {
	n->line.buffer = buffer;
	n->line.size = CELL_LINE_BUFFER(limit);
	n->line.code = 0u;
	n->line.left = 0u;
	n->methods = methods;
	n->end = &methods[count];
	n->write = write;
	n->port = port;
	n->session = session;
	n->peer = 0u;
}

/* ---- streams and topics that a node sends ---- */

/* A stream that a peer opened by a request, or its subscription to a topic. The
 * peer grants credit, and each item or event takes one. */
typedef struct {
	cell_header header; /* of what is sent; kind 0: closed */
	uint32_t credit;
	uint32_t peer; /* whose it is: a peer that started anew has forgotten it */
} cell_stream;

/* cell_stream_open begins a stream for the request in c, which the handler
 * answers by CELL_STATUS_LATER. */
CELL_API void cell_stream_open(cell_stream *s, const cell_call *c, uint32_t credit) {
	s->header = c->header;
	s->header.flags &= CELL_FLAG_PRIORITY;
	s->header.hops = CELL_HOPS;
	s->credit = credit;
	s->peer = c->node->peer;
}

CELL_API void cell_stream_close(cell_stream *s) { s->header.kind = 0u; }

/* cell_stream_is_open reports whether somebody still listens. */
CELL_API uint32_t cell_stream_is_open(const cell_stream *s, const cell_node *n) {
	return ((s->header.kind != 0u) && (s->peer == n->peer)) ? 1u : 0u;
}

/* cell_stream_take acts on credit and cancellation, which a handler was given.
 * What belongs to another call is ignored. */
CELL_API void cell_stream_take(cell_stream *s, const cell_call *c) {
	uint32_t more;

	if ((s->header.kind != 0u) && (c->header.correlation == s->header.correlation)) {
		if (c->header.kind == CELL_CANCEL) {
			cell_stream_close(s);
		} else if ((c->header.kind == CELL_CREDIT) && (c->header.length >= 4u)) {
			more = s->credit + cell_get32(c->request);
			s->credit = (more < s->credit) ? 0xFFFFFFFFu : more;
		} else {
			/* an item, which is the handler's affair */
		}
	}
}

/* cell_stream_send sends an item, an event, or the reply that ends a stream. Its
 * payload of length bytes stands at &out[CELL_LINE_HEADER]; see cell_send. Items
 * and events need credit, and take it. */
CELL_API void cell_stream_send(cell_stream *s, const cell_node *n, uint8_t *out, uint8_t kind, uint32_t length) {
	s->header.kind = kind;
	s->header.length = length;
	cell_send(n, out, &s->header);
	if ((kind == CELL_REPLY) || (kind == CELL_ERROR)) {
		cell_stream_close(s);
	} else {
		s->credit--;
	}
}

#endif /* CELL_H */
