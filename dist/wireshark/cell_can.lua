-- Wireshark dissector for Cell over a CAN bus (docs/CAN.md).
--
-- Put it into the folder "Personal Lua Plugins" of Help > About Wireshark, or
--
--     tshark -X lua_script:cell_can.lua -r trace.pcap -Y cell_can
--
-- It takes every CAN and CAN FD frame with a 29-bit identifier that no other
-- dissector claims, since nothing in a frame says that it is Cell's. It learns
-- routes, and so fingerprints, from the hellos and routes in the trace; without
-- them it shows route numbers. Vesicles of several frames are put together, and
-- their CRC is checked.

local cell = Proto("cell_can", "Cell over CAN")

local classes = {
	[0] = "control", [1] = "request", [2] = "reply", [3] = "event",
	[4] = "item", [5] = "credit", [6] = "start", [7] = "next",
}
local operations = {
	[0] = "hello", [1] = "route", [2] = "ready", [3] = "flow", [4] = "resume", [5] = "bye",
}
local kinds = {
	[1] = "request", [2] = "reply", [3] = "error", [4] = "event",
	[5] = "stream item", [6] = "credit", [7] = "cancel", [8] = "control",
}
local reasons = {
	[0] = "closed", [1] = "taken", [2] = "breach of the protocol", [3] = "unknown link", [4] = "refused",
}
-- Kinds of the classes with a short header.
local short_kinds = { [1] = 1, [2] = 2, [3] = 4, [4] = 5, [5] = 6 }

local f = {
	priority = ProtoField.uint8("cell_can.priority", "Priority"),
	class = ProtoField.uint8("cell_can.class", "Class", base.DEC, classes),
	to = ProtoField.uint8("cell_can.to", "To node"),
	from = ProtoField.uint8("cell_can.from", "From node"),
	sequence = ProtoField.uint16("cell_can.sequence", "Frame number (low bits)"),
	route = ProtoField.uint8("cell_can.route", "Route"),
	fingerprint = ProtoField.uint64("cell_can.fingerprint", "Fingerprint", base.HEX),
	kind = ProtoField.uint8("cell_can.kind", "Kind", base.DEC, kinds),
	flag_end = ProtoField.bool("cell_can.end", "End of stream"),
	flag_more = ProtoField.bool("cell_can.more", "More fragments"),
	flag_deadline = ProtoField.bool("cell_can.deadline", "Deadline"),
	flag_fragment = ProtoField.bool("cell_can.fragment", "Fragment"),
	token = ProtoField.uint8("cell_can.token", "Correlation token", base.HEX),
	correlation = ProtoField.uint32("cell_can.correlation", "Correlation", base.HEX),
	channel = ProtoField.uint8("cell_can.channel", "Channel"),
	hops = ProtoField.uint8("cell_can.hops", "Hops"),
	length = ProtoField.uint16("cell_can.length", "Content length"),
	payload = ProtoField.bytes("cell_can.payload", "Payload"),
	part = ProtoField.bytes("cell_can.part", "Part"),
	check = ProtoField.uint16("cell_can.crc", "CRC", base.HEX),
	op = ProtoField.uint8("cell_can.op", "Operation", base.DEC, operations),
	version = ProtoField.uint8("cell_can.version", "Version"),
	fd = ProtoField.bool("cell_can.fd", "Can do FD"),
	keeps = ProtoField.bool("cell_can.keeps", "Keeps routes of the other"),
	asks = ProtoField.bool("cell_can.asks", "Asks for an answer"),
	window = ProtoField.uint8("cell_can.window", "Window"),
	max_payload = ProtoField.uint16("cell_can.max_payload", "Maximal payload"),
	session = ProtoField.uint16("cell_can.session", "Session", base.HEX),
	session_to = ProtoField.uint16("cell_can.session_to", "Session of the receiver", base.HEX),
	routes = ProtoField.uint8("cell_can.routes", "Routes"),
	bits = ProtoField.uint8("cell_can.bits", "Bits of correlation tables"),
	place = ProtoField.uint8("cell_can.place", "Place"),
	taken = ProtoField.uint16("cell_can.taken", "Taken up to"),
	limit = ProtoField.uint16("cell_can.limit", "Limit"),
	gap = ProtoField.bool("cell_can.gap", "Frames are missing"),
	round = ProtoField.uint8("cell_can.round", "Round of the resume"),
	running = ProtoField.uint8("cell_can.running", "Running check", base.HEX),
	number = ProtoField.uint16("cell_can.number", "Frame number"),
	reason = ProtoField.uint16("cell_can.reason", "Reason", base.DEC, reasons),
	whole = ProtoField.framenum("cell_can.start_in", "Starts in frame"),
}
cell.fields = f

local e = {
	check = ProtoExpert.new("cell_can.bad_crc", "CRC does not fit", expert.group.CHECKSUM, expert.severity.ERROR),
	form = ProtoExpert.new("cell_can.malformed", "Not a frame of Cell", expert.group.MALFORMED, expert.severity.ERROR),
	lone = ProtoExpert.new("cell_can.lone", "A part whose start is not in the trace", expert.group.SEQUENCE, expert.severity.NOTE),
}
cell.experts = { e.check, e.form, e.lone }

local can_id = Field.new("can.id")
local can_xtd = Field.new("can.flags.xtd")

-- What was learned from the trace, by the first pass.
local hellos    -- [node][peer] = { routes = count, keeps = … }
local prints    -- [node][peer][place] = fingerprint, a UInt64
local partials  -- [from * 128 + to] = vesicle under way
local seen      -- [frame number] = what a frame is part of

function cell.init()
	hellos, prints, partials, seen = {}, {}, {}, {}
end

local function at(t, ...)
	for _, k in ipairs({ ... }) do
		if t == nil then return nil end
		t = t[k]
	end
	return t
end

-- fingerprint_of returns what a route stands for between two nodes.
local function fingerprint_of(a, b, route)
	local low, high = math.min(a, b), math.max(a, b)
	local count = at(hellos, low, high, "routes")
	if count == nil then return nil end
	-- A node's routes count only if the other one keeps them.
	if not at(hellos, high, low, "keeps") then count = 0 end
	if route < count then return at(prints, low, high, route) end
	return at(prints, high, low, route - count)
end

local function crc16(crc, bytes, first, n)
	for i = first, first + n - 1 do
		crc = bit.bxor(crc, bytes:get_index(i))
		for _ = 1, 8 do
			if bit.band(crc, 1) == 1 then
				crc = bit.bxor(bit.rshift(crc, 1), 0x8408)
			else
				crc = bit.rshift(crc, 1)
			end
		end
	end
	return crc
end

-- check_of is the CRC of a vesicle: over the identifier of its start without the
-- number, and its content.
local function check_of(id, content)
	local head = ByteArray.new()
	head:set_size(4)
	id = bit.band(id, 0x1FFFFFF8)
	for i = 0, 3 do
		head:set_index(i, bit.band(bit.rshift(id, 8 * i), 0xFF))
	end
	return bit.band(bit.bnot(crc16(crc16(0xFFFF, head, 0, 4), content, 0, content:len())), 0xFFFF)
end

local control = {}

control[0] = function(buf, tree, from, to)
	tree:add(f.version, buf(0, 1), bit.rshift(buf(0, 1):uint(), 4))
	local flags = buf(0, 1):uint()
	tree:add(f.fd, buf(0, 1), bit.band(flags, 1) ~= 0)
	tree:add(f.keeps, buf(0, 1), bit.band(flags, 2) ~= 0)
	tree:add(f.asks, buf(0, 1), bit.band(flags, 4) ~= 0)
	tree:add(f.window, buf(1, 1))
	tree:add_le(f.max_payload, buf(2, 2))
	tree:add_le(f.session, buf(4, 2))
	tree:add(f.routes, buf(6, 1))
	tree:add(f.bits, buf(7, 1))
	hellos[from] = hellos[from] or {}
	hellos[from][to] = { routes = buf(6, 1):uint(), keeps = bit.band(flags, 2) ~= 0 }
	return string.format("session %04x, %d routes", buf(4, 2):le_uint(), buf(6, 1):uint())
end

control[1] = function(buf, tree, from, to, place)
	tree:add(f.place, place)
	tree:add_le(f.fingerprint, buf(0, 8))
	prints[from] = prints[from] or {}
	prints[from][to] = prints[from][to] or {}
	prints[from][to][place] = buf(0, 8):le_uint64()
	return string.format("%d is %s", place, buf(0, 8):le_uint64():tohex())
end

control[3] = function(buf, tree)
	tree:add_le(f.taken, buf(0, 2))
	tree:add_le(f.limit, buf(2, 2))
	tree:add_le(f.session_to, buf(4, 2))
	tree:add(f.gap, buf(6, 1), bit.band(buf(6, 1):uint(), 1) ~= 0)
	tree:add(f.round, buf(6, 1), bit.rshift(buf(6, 1):uint(), 1))
	tree:add(f.running, buf(7, 1))
	local missing = bit.band(buf(6, 1):uint(), 1) ~= 0 and ", frames are missing" or ""
	return string.format("taken %d, limit %d%s", buf(0, 2):le_uint(), buf(2, 2):le_uint(), missing)
end

local function pair(buf, tree)
	tree:add_le(f.session_to, buf(4, 2))
	tree:add_le(f.session, buf(6, 2))
end

control[2] = function(buf, tree)
	pair(buf, tree)
	return ""
end

control[4] = function(buf, tree)
	tree:add(f.round, buf(0, 1), bit.rshift(buf(0, 1):uint(), 1))
	pair(buf, tree)
	return string.format("round %d", bit.rshift(buf(0, 1):uint(), 1))
end

control[5] = function(buf, tree)
	tree:add_le(f.number, buf(0, 2))
	tree:add_le(f.reason, buf(2, 2))
	pair(buf, tree)
	return reasons[buf(2, 2):le_uint()] or "?"
end

local function add_route(tree, from, to, route)
	tree:add(f.route, route)
	if route == 63 then return "" end
	local print = fingerprint_of(from, to, route)
	if print == nil then return string.format(" route %d", route) end
	tree:add(f.fingerprint, print)
	return " " .. print:tohex()
end

-- show_content adds header and payload of a vesicle that began with a start.
local function show_content(buf, tree, info)
	local first = buf(0, 1):uint()
	local form = buf(1, 2):le_uint()
	local i = 3
	tree:add(f.kind, buf(0, 1), bit.band(first, 7) + 1)
	tree:add(f.flag_more, buf(0, 1), bit.band(first, 0x08) ~= 0)
	tree:add(f.flag_end, buf(0, 1), bit.band(first, 0x10) ~= 0)
	tree:add(f.flag_deadline, buf(1, 2), bit.band(form, 0x8000) ~= 0)
	tree:add(f.flag_fragment, buf(0, 1), bit.band(first, 0x40) ~= 0)
	tree:add(f.length, buf(1, 2), bit.band(form, 0x3FFF))
	local text = kinds[bit.band(first, 7) + 1]
	if bit.band(first, 0x80) ~= 0 then
		tree:add_le(f.correlation, buf(i, 4))
		text = string.format("%s, correlation %08x", text, buf(i, 4):le_uint())
		i = i + 4
	else
		tree:add(f.token, buf(i, 1))
		i = i + 1
	end
	if bit.band(form, 0x4000) ~= 0 then
		tree:add(f.channel, buf(i, 1))
		tree:add(f.hops, buf(i + 1, 1))
		i = i + 2
	end
	if info.route == 63 then
		tree:add_le(f.fingerprint, buf(i, 8))
		text = text .. " " .. buf(i, 8):le_uint64():tohex()
		i = i + 8
	end
	local n = bit.band(form, 0x3FFF) - i
	if n > 0 then tree:add(f.payload, buf(i, n)) end
	return string.format("%s, %d bytes", text, n)
end

-- whole shows a vesicle that is complete, from content as a ByteArray.
local function whole(info, tree)
	local content = info.content
	local n = info.total
	if info.checked then
		local want = content:get_index(n) + 256 * content:get_index(n + 1)
		local tvb = content:tvb("Vesicle")
		local text = show_content(tvb, tree, info)
		local item = tree:add_le(f.check, tvb(n, 2))
		if check_of(info.id, content:subset(0, n)) ~= want then
			item:add_proto_expert_info(e.check)
			text = text .. ", bad CRC"
		end
		return text
	end
	return show_content(content:tvb("Vesicle"), tree, info)
end

local function start(buf, id, from, to, size)
	if buf:len() < 4 then return nil end
	local total = bit.band(buf(1, 2):le_uint(), 0x3FFF)
	local info = { id = id, route = bit.band(bit.rshift(id, 3), 63), total = total, checked = total > size }
	info.need = total + (info.checked and 2 or 0)
	info.content = buf(0, math.min(buf:len(), info.need)):bytes()
	partials[from * 128 + to] = info
	return info
end

-- dissect_parts handles starts and further parts.
local function dissect_parts(buf, pinfo, tree, id, class, from, to)
	local key, number = from * 128 + to, pinfo.number
	-- A frame of more than 8 bytes is FD; a full classic start has 8 bytes, and
	-- an FD one, which is shorter only if it is all there is, has 64.
	local size = buf:len() > 8 and 64 or 8
	local info = seen[number]
	if not pinfo.visited then
		if class == 6 then
			info = start(buf, id, from, to, size)
			if info == nil then return nil end
			info.frame = number
		else
			info = partials[key]
			if info ~= nil then
				local part = buf(0, math.min(buf:len(), info.need - info.content:len()))
				info.content = info.content .. part:bytes()
			end
		end
		if info ~= nil then
			seen[number] = info
			if info.content:len() >= info.need then
				info.last = number
				partials[key] = nil
			end
		end
	end
	tree:add(f.part, buf())
	if info == nil then
		tree:add_proto_expert_info(e.lone)
		return "part"
	end
	if class == 7 then tree:add(f.whole, info.frame) end
	local route = add_route(tree, from, to, info.route)
	if info.last ~= number then
		return string.format("part%s of %d bytes", route, info.total)
	end
	return whole(info, tree) .. route
end

local function dissect_short(buf, tree, id, class, from, to)
	local route = add_route(tree, from, to, bit.band(bit.rshift(id, 3), 63))
	tree:add(f.kind, short_kinds[class])
	tree:add(f.flag_end, buf(0, 1), bit.band(buf(0, 1):uint(), 0x80) ~= 0)
	tree:add(f.token, buf(0, 1), bit.band(buf(0, 1):uint(), 0x5F))
	if buf:len() > 1 then tree:add(f.payload, buf(1)) end
	return string.format("%s%s, %d bytes", kinds[short_kinds[class]], route, buf:len() - 1)
end

function cell.dissector(buf, pinfo, root)
	local field, extended = can_id(), can_xtd()
	if field == nil or (extended ~= nil and not extended.value) then return 0 end
	local id = bit.band(field.value, 0x1FFFFFFF)
	local class = bit.band(bit.rshift(id, 23), 7)
	local to, from = bit.band(bit.rshift(id, 16), 127), bit.band(bit.rshift(id, 9), 127)
	local tree = root:add(cell, buf())
	tree:add(f.priority, bit.rshift(id, 26))
	tree:add(f.class, class)
	tree:add(f.to, to)
	tree:add(f.from, from)
	pinfo.cols.protocol = "Cell"
	pinfo.cols.src = tostring(from)
	pinfo.cols.dst = to == 127 and "all" or tostring(to)
	local text
	if class == 0 then
		local op = bit.band(bit.rshift(id, 6), 7)
		tree:add(f.op, op)
		if control[op] ~= nil and buf:len() == 8 then
			text = operations[op] .. " " .. control[op](buf, tree, from, to, bit.band(id, 63))
		end
	elseif class == 7 then
		tree:add(f.sequence, bit.band(id, 0x1FF))
		text = dissect_parts(buf, pinfo, tree, id, class, from, to)
	elseif buf:len() > 0 then
		-- The fourth bit of the number is in the first byte.
		tree:add(f.sequence, bit.band(id, 7) + bit.rshift(bit.band(buf(0, 1):uint(), 0x20), 2))
		if class == 6 then
			text = dissect_parts(buf, pinfo, tree, id, class, from, to)
		elseif buf:len() <= 8 then
			text = dissect_short(buf, tree, id, class, from, to)
		end
	end
	if text == nil then
		tree:add_proto_expert_info(e.form)
		text = "malformed"
	end
	tree:append_text(string.format(", %d to %d: %s", from, to, text))
	pinfo.cols.info = text
	return buf:len()
end

-- Of the tables that CAN dissectors offer payloads to, this one is asked for
-- frames that nothing more special claims.
DissectorTable.get("can.subdissector"):add_for_decode_as(cell)
cell:register_heuristic("can", function(buf, pinfo, root)
	return cell.dissector(buf, pinfo, root) > 0
end)
