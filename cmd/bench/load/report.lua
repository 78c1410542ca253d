-- One line for a program to read; load/wrk.go parses it. There is no request or response function here, so wrk runs no
-- Lua while it measures.
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("\nBENCH %d %d %d %d %d %d %d %d %d\n",
    summary.requests, summary.duration, e.connect, e.read, e.write, e.status, e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
