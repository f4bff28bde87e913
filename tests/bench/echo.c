/*
 * An MCP server on standard input and output that costs as little as one can: the model server of the benchmarks.
 *
 * Speaks the eras with `initialize` and 2026-07-28. Tools: `echo {text}` answers the same text, `big {bytes}` answers
 * that many characters, `flood {count}` sends that many notifications before its answer.
 * It promises one line out for each request in, in order, and memory that grows only with the longest line (32 MiB,
 * then it ends). Its JSON reader finds members and does not validate: only the benchmarks' own clients speak to it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES (32u << 20)
#define BIG_MAX_BYTES (16u << 20)
#define OUT_BYTES 16384

struct span {
	const char *at;
	size_t size;
};

static char out[OUT_BYTES];
static size_t out_used;

static void flush(void)
{
	for (size_t done = 0; done < out_used;) {
		ssize_t n = write(1, out + done, out_used - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			_exit(0);
		done += (size_t)n;
	}
	out_used = 0;
}

static void emit(const char *at, size_t size)
{
	while (size) {
		size_t part = OUT_BYTES - out_used < size ? OUT_BYTES - out_used : size;
		memcpy(out + out_used, at, part);
		out_used += part;
		at += part;
		size -= part;
		if (out_used == OUT_BYTES)
			flush();
	}
}

static void say(const char *text)
{
	emit(text, strlen(text));
}

static const char *skip_space(const char *at, const char *end)
{
	while (at < end && (*at == ' ' || *at == '\t' || *at == '\r'))
		at++;
	return at;
}

/* The first byte after the string that starts at `at`. */
static const char *skip_string(const char *at, const char *end)
{
	for (at++; at < end && *at != '"'; at++)
		if (*at == '\\')
			at++;
	return at < end ? at + 1 : end;
}

/* The first byte after the value that starts at `at`. */
static const char *skip_value(const char *at, const char *end)
{
	int depth = 0;
	while (at < end) {
		if (*at == '"') {
			at = skip_string(at, end);
		} else {
			if (depth == 0 && (*at == ',' || *at == '}' || *at == ']'))
				return at;
			depth += (*at == '{' || *at == '[') - (*at == '}' || *at == ']');
			at++;
		}
		if (depth == 0 && (at[-1] == '"' || at[-1] == '}' || at[-1] == ']'))
			return at;
	}
	return end;
}

/* The raw text of an object's member, or nothing. */
static struct span member(struct span object, const char *name)
{
	const char *at = object.at, *end = object.at + object.size;
	size_t length = strlen(name);
	if (object.size == 0 || *at != '{')
		return (struct span){ 0 };
	for (at = skip_space(at + 1, end); at < end && *at == '"'; at = skip_space(at + 1, end)) {
		const char *key = at + 1;
		at = skip_string(at, end);
		int found = (size_t)(at - 1 - key) == length && memcmp(key, name, length) == 0;
		at = skip_space(at, end);
		at = skip_space(at < end ? at + 1 : end, end);
		const char *value = at;
		at = skip_value(at, end);
		if (found)
			return (struct span){ value, (size_t)(at - value) };
		at = skip_space(at, end);
		if (at >= end || *at != ',')
			break;
	}
	return (struct span){ 0 };
}

static int is(struct span value, const char *text)
{
	return value.size == strlen(text) + 2 && memcmp(value.at + 1, text, value.size - 2) == 0;
}

static size_t number(struct span value, size_t most)
{
	size_t n = 0;
	for (size_t i = 0; i < value.size && value.at[i] >= '0' && value.at[i] <= '9' && n <= most; i++)
		n = n * 10 + (size_t)(value.at[i] - '0');
	return n < most ? n : most;
}

static void open_result(struct span id, int modern)
{
	say("{\"jsonrpc\":\"2.0\",\"id\":");
	emit(id.at, id.size);
	say(",\"result\":{");
	if (modern)
		say("\"resultType\":\"complete\",");
}

static void initialize(struct span id, struct span params)
{
	struct span version = member(params, "protocolVersion");
	open_result(id, 0);
	say("\"protocolVersion\":");
	if (version.size)
		emit(version.at, version.size);
	else
		say("\"2025-11-25\"");
	say(",\"capabilities\":{\"tools\":{},\"logging\":{}},\"serverInfo\":{\"name\":\"bench-echo\",\"version\":\"1\"}}}\n");
}

static void discover(struct span id)
{
	open_result(id, 1);
	say("\"supportedVersions\":[\"2026-07-28\"],\"capabilities\":{\"tools\":{}},\"ttlMs\":60000,\"cacheScope\":\"public\","
	    "\"_meta\":{\"io.modelcontextprotocol/serverInfo\":{\"name\":\"bench-echo\",\"version\":\"1\"}}}}\n");
}

static void list_tools(struct span id, int modern)
{
	open_result(id, modern);
	if (modern)
		say("\"ttlMs\":60000,\"cacheScope\":\"public\",");
	say("\"tools\":[{\"name\":\"echo\",\"description\":\"answers its text\",\"inputSchema\":{\"type\":\"object\","
	    "\"properties\":{\"text\":{\"type\":\"string\"}},\"required\":[\"text\"]}},"
	    "{\"name\":\"big\",\"description\":\"answers many characters\",\"inputSchema\":{\"type\":\"object\","
	    "\"properties\":{\"bytes\":{\"type\":\"integer\"}}}},"
	    "{\"name\":\"flood\",\"description\":\"sends many notifications\",\"inputSchema\":{\"type\":\"object\","
	    "\"properties\":{\"count\":{\"type\":\"integer\"}}}}]}}\n");
}

static void fill(size_t bytes)
{
	static const char block[] = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
	for (; bytes; bytes -= bytes < 64 ? bytes : 64)
		emit(block, bytes < 64 ? bytes : 64);
}

/* Progress where the caller gave a token, since only that names one caller among many; log messages otherwise. */
static void notify(struct span token, size_t nth)
{
	char text[32];
	snprintf(text, sizeof text, "%zu", nth);
	if (token.size) {
		say("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":");
		emit(token.at, token.size);
		say(",\"progress\":");
		say(text);
		say("}}\n");
	} else {
		say("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":");
		say(text);
		say("}}\n");
	}
}

static void call_tool(struct span id, struct span params, struct span meta, int modern)
{
	struct span name = member(params, "name"), arguments = member(params, "arguments");
	size_t count = number(member(arguments, "count"), 10000000);
	if (is(name, "flood"))
		for (size_t i = 1; i <= count; i++)
			notify(member(meta, "progressToken"), i);
	open_result(id, modern);
	say("\"content\":[{\"type\":\"text\",\"text\":");
	struct span text = member(arguments, "text");
	if (is(name, "echo") && text.size) {
		emit(text.at, text.size);
	} else {
		say("\"");
		if (is(name, "big"))
			fill(number(member(arguments, "bytes"), BIG_MAX_BYTES));
		say("\"");
	}
	say("}]}}\n");
}

static void answer(struct span line)
{
	struct span id = member(line, "id"), method = member(line, "method"), params = member(line, "params");
	struct span meta = member(params, "_meta");
	int modern = member(meta, "io.modelcontextprotocol/protocolVersion").size != 0;
	if (id.size == 0 || method.size == 0)
		return;
	if (is(method, "tools/call")) {
		call_tool(id, params, meta, modern);
	} else if (is(method, "initialize")) {
		initialize(id, params);
	} else if (is(method, "tools/list")) {
		list_tools(id, modern);
	} else if (is(method, "server/discover")) {
		discover(id);
	} else if (is(method, "ping") || is(method, "logging/setLevel")) {
		open_result(id, 0);
		say("}}\n");
	} else {
		say("{\"jsonrpc\":\"2.0\",\"id\":");
		emit(id.at, id.size);
		say(",\"error\":{\"code\":-32601,\"message\":\"method not found\"}}\n");
	}
}

int main(void)
{
	size_t room = 16384, used = 0, searched = 0;
	char *buffer = malloc(room);
	while (buffer) {
		ssize_t n = read(0, buffer + used, room - used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return 0;
		used += (size_t)n;
		char *start = buffer, *newline;
		while ((newline = memchr(buffer + searched, '\n', used - searched))) {
			answer((struct span){ start, (size_t)(newline - start) });
			start = newline + 1;
			searched = (size_t)(start - buffer);
		}
		used -= (size_t)(start - buffer);
		memmove(buffer, start, used);
		searched = used;
		flush();
		if (used == room && room >= LINE_MAX_BYTES)
			return 1;
		if (used == room)
			buffer = realloc(buffer, room *= 2);
	}
	return 1;
}
