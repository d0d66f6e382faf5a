-- Latency under load, after RFC 2544 section 26.2: time of flight from one port to the other while the single flow of
-- the sending port runs at the given rates. Pktgen> load single-flow.pkt, then: load latency.lua
--
-- Fields of a table `settings` that exists already take the place of these.
settings = setmetatable(settings or {}, { __index = {
    send = 0,
    receive = 1,
    size = 64,                   -- of the load; probes have a length of their own. Units: octets with FCS
    rates = { 1, 10, 25, 50 },   -- below what throughput.lua found. Units: percent of the line
    trial_s = 120,               -- RFC 2544 asks for 120
    probe_us = 1000,             -- a probe every so often
} })

local function measure(rate)
    local send = tostring(settings.send)
    pktgen.set(send, "rate", rate)
    pktgen.clr()
    pktgen.start(send)
    pktgen.sleep(settings.trial_s)
    pktgen.stop(send)
    pktgen.sleep(3)
    local seen = pktgen.pktStats(tostring(settings.receive))[settings.receive].latency
    print(string.format("%6.2f %%: %d probes, %.1f / %.1f / %.1f us minimum / mean / maximum, %d skipped", rate,
        seen.num_pkts, seen.min_us, seen.avg_us, seen.max_us, seen.num_skipped))
    return seen
end

local function probes(state)
    for _, port in ipairs({ settings.send, settings.receive }) do
        pktgen.latency(tostring(port), state)
    end
end

pktgen.screen("off")
pktgen.stop(settings.send .. "," .. settings.receive)
pktgen.set(tostring(settings.send), "size", settings.size)
pktgen.set(tostring(settings.send), "count", 0)
pktgen.latency(tostring(settings.send), "rate", settings.probe_us)
probes("enable")
results = {}
for _, rate in ipairs(settings.rates) do
    results[rate] = measure(rate)
end
probes("disable")
pktgen.screen("on")
