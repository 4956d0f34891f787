/*
 * cell.h as a program on the host, for tests that compare it with the Go
 * implementation. It reads commands line by line and answers each by one line:
 *
 *	header HEX40          decode 20 bytes of a header, encode it again
 *	encode KIND FLAGS CHANNEL HOPS FINGERPRINT CORRELATION PAYLOAD
 *	decode SIZE LINE      what a receiver with a buffer of SIZE bytes makes of
 *	                      line bytes
 *
 * Bytes are hexadecimal, "-" for none; numbers are decimal, the fingerprint 16
 * hexadecimal digits.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../cell.h"

#define MOST 70000u

static char line[4u * MOST];
static uint8_t bytes[2u * MOST];
static FILE *out;

static const char *const reasons[] = {
	"ok", "more", "ErrVersion", "ErrKind", "ErrFlags", "ErrChannel", "ErrLength", "ErrPrefix",
	"ErrCOBS", "ErrSize", "ErrCRC", "ErrForm", "ErrTooLong",
};

static size_t from_hex(uint8_t *to, const char *hex) {
	size_t n = 0u;
	unsigned x;

	if (strcmp(hex, "-") == 0) {
		return 0u;
	}
	while (sscanf(&hex[2u * n], "%2x", &x) == 1) {
		to[n] = (uint8_t)x;
		n++;
		if (hex[2u * n] == '\0') {
			break;
		}
	}
	return n;
}

static void to_hex(const uint8_t *b, size_t n) {
	if (n == 0u) {
		fputc('-', out);
	}
	for (size_t i = 0u; i < n; i++) {
		fprintf(out, "%02x", b[i]);
	}
}

static void show(const cell_header *h) {
	fprintf(out, "%u %u %u %u %016" PRIx64 " %" PRIu32 " ", h->kind, h->flags, h->channel, h->hops, h->fingerprint,
	        h->correlation);
}

static void put(void *port, uint8_t b) {
	(void)port;
	fprintf(out, "%02x", b);
}

static void header(char *args) {
	cell_header h;
	cell_result r;
	/* Exactly as long as it is, so that reading on is seen. */
	uint8_t *b = malloc(CELL_HEADER_SIZE);
	uint8_t again[CELL_HEADER_SIZE];

	memcpy(b, bytes, from_hex(bytes, args) > 0u ? CELL_HEADER_SIZE : 0u);
	r = cell_header_get(&h, b);
	fprintf(out, "%s ", reasons[r]);
	if (r == CELL_OK) {
		cell_header_put(again, &h);
		fprintf(out, "%" PRIu32 " ", h.length);
		show(&h);
		to_hex(again, sizeof(again));
	}
	free(b);
}

static void encode(char *args) {
	static char payload[4u * MOST];
	unsigned kind, flags, channel, hops;
	cell_header h;
	uint8_t *body;

	if (sscanf(args, "%u %u %u %u %" SCNx64 " %" SCNu32 " %s", &kind, &flags, &channel, &hops, &h.fingerprint,
	           &h.correlation, payload) != 7) {
		fputs("?", out);
		return;
	}
	h.kind = (uint8_t)kind;
	h.flags = (uint8_t)flags;
	h.channel = (uint8_t)channel;
	h.hops = (uint8_t)hops;
	h.length = (uint32_t)from_hex(bytes, payload);
	body = malloc(CELL_LINE_BUFFER(h.length));
	memcpy(&body[CELL_LINE_HEADER], bytes, h.length);
	{
		const size_t at = cell_line_put(body, &h);

		cell_line_send(&body[at], CELL_LINE_HEADER - at + h.length, put, NULL);
	}
	free(body);
}

static void decode(char *args) {
	static char text[4u * MOST];
	unsigned size;
	cell_line l;
	size_t n, i;

	if (sscanf(args, "%u %s", &size, text) != 2) {
		fputs("?", out);
		return;
	}
	n = from_hex(bytes, text);
	memset(&l, 0, sizeof(l));
	l.buffer = malloc(size);
	l.size = size;
	for (i = 0u; i < n; i++) {
		cell_result r = cell_line_byte(&l, bytes[i]);

		if (r == CELL_MORE) {
			continue;
		}
		if (r != CELL_OK) {
			fprintf(out, "%s; ", reasons[r]);
		} else if ((l.buffer[0] & 0x0Fu) > CELL_CONTROL) {
			fputs("own ", out);
			to_hex(l.buffer, l.n);
			fputs("; ", out);
		} else {
			cell_header h;

			r = cell_line_get(&h, l.buffer, l.n);
			if (r != CELL_OK) {
				fprintf(out, "%s; ", reasons[r]);
			} else {
				fputs("vesicle ", out);
				show(&h);
				to_hex(&l.buffer[l.n - h.length], h.length);
				fputs("; ", out);
			}
		}
	}
	free(l.buffer);
}

int main(void) {
	out = stdout;
	while (fgets(line, sizeof(line), stdin) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "header ", 7) == 0) {
			header(&line[7]);
		} else if (strncmp(line, "encode ", 7) == 0) {
			encode(&line[7]);
		} else if (strncmp(line, "decode ", 7) == 0) {
			decode(&line[7]);
		} else {
			fputs("?", out);
		}
		fputc('\n', out);
		fflush(out);
	}
	return 0;
}
