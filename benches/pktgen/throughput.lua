-- Throughput without loss, in the manner of RFC 2544 section 26.1: for each frame length the highest rate at which
-- every frame sent by one port arrives at the other. Pktgen> load throughput.lua
--
-- Fields of a table `settings` that exists already take the place of these. With a table `mix`, {{64, 7}, {570, 4}} and so
-- on, the sequence of a .pkt file is measured instead of the sizes.
settings = setmetatable(settings or {}, { __index = {
    send = 0,
    receive = 1,
    -- Octets with FCS. 1464 holds the largest packet that AES-GCM in IPv4 brings through an MTU of 1500.
    sizes = { 64, 128, 256, 512, 1024, 1280, 1464 },
    search_s = 10,  -- of a trial of the search
    confirm_s = 60, -- of the trial that counts; RFC 2544 section 24 asks for 60
    drain_s = 3,    -- pktgen reads the ports' counters once a second
    step = 0.1,     -- the search ends within this. Units: percent of the line
} })

-- Octets that a frame takes on the line besides its own: preamble, start delimiter, gap.
local GAP = 20
local ETHERNET = 18

-- The frame that leaves the gateway around a frame of so many octets: IPv4, SPI to IV, padding to 4, ICV.
local function sealed_size(size)
    local inner = size - ETHERNET
    local padded = math.ceil((inner + 2) / 4) * 4
    return ETHERNET + 20 + 16 + padded + 16
end

-- The rate at which the ESP packets of a mix fill a WAN line as fast as the LAN line. Above it loss says nothing.
local function ceiling(parts)
    local before, after = 0, 0
    for _, part in ipairs(parts) do
        local size, weight = part[1], part[2]
        before = before + weight * (size + GAP)
        after = after + weight * (sealed_size(size) + GAP)
    end
    return 100 * before / after
end

local function count(port, name)
    return pktgen.portStats(tostring(port), "port")[port][name]
end

-- Returns how many frames went out and how many came back.
local function trial(rate, seconds)
    pktgen.set(tostring(settings.send), "rate", rate)
    local sent, received = count(settings.send, "opackets"), count(settings.receive, "ipackets")
    pktgen.start(tostring(settings.send))
    pktgen.sleep(seconds)
    pktgen.stop(tostring(settings.send))
    pktgen.sleep(settings.drain_s)
    sent = count(settings.send, "opackets") - sent
    received = count(settings.receive, "ipackets") - received
    print(string.format("  %6.2f %% for %d s: %d sent, %d received, %d lost", rate, seconds, sent, received, sent - received))
    return sent, received
end

local function lossless(rate, seconds)
    local sent, received = trial(rate, seconds)
    if sent == 0 then
        error("port " .. settings.send .. " sent nothing: is its link up?")
    end
    return received >= sent, sent
end

-- Halves the span between a rate that passed and one that did not; returns the highest that passed.
local function search(low, high)
    while high - low > settings.step do
        local middle = (low + high) / 2
        if lossless(middle, settings.search_s) then
            low = middle
        else
            high = middle
        end
    end
    return low
end

local function throughput(name, parts)
    local rate = ceiling(parts)
    print(string.format("%s: at most %.2f %% of the line", name, rate))
    if not lossless(rate, settings.search_s) then
        rate = search(0, rate)
    end
    while rate > settings.step do
        local passed, sent = lossless(rate, settings.confirm_s)
        if passed then
            print(string.format("%s: %.2f %% of the line, %d packets a second", name, rate, sent // settings.confirm_s))
            return rate
        end
        rate = rate - settings.step
    end
    print(name .. ": no rate without loss")
    return 0
end

-- The single packet and the range: whichever the port sends.
local function set_size(size)
    local send = tostring(settings.send)
    pktgen.set(send, "size", size)
    for _, what in ipairs({ "start", "min", "max" }) do
        pktgen.range.pkt_size(send, what, size)
    end
end

local function prepare()
    local send, all = tostring(settings.send), settings.send .. "," .. settings.receive
    pktgen.stop(all)
    pktgen.screen("off")
    pktgen.set(send, "count", 0)
    -- A second of little, not counted: neighbors become known, caches warm.
    pktgen.set(send, "rate", 1)
    pktgen.start(send)
    pktgen.sleep(1)
    pktgen.stop(send)
    pktgen.sleep(settings.drain_s)
end

prepare()
results = {}
if mix then
    results.mix = throughput("mix", mix)
else
    for _, size in ipairs(settings.sizes) do
        set_size(size)
        local name = string.format("%d octets, %d as ESP", size, sealed_size(size))
        results[size] = throughput(name, { { size, 1 } })
    end
end
pktgen.screen("on")
