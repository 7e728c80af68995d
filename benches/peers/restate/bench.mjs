// Runs handlers of no-op steps with Restate, so many at once, and prints one JSON line.
//
// It starts a Restate server on free loopback ports with its data in a temporary folder below the
// current one, serves the handlers from this process, and drives them through the server's ingress.

import { spawn } from "node:child_process";
import { closeSync, fdatasyncSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { createRequire } from "node:module";
import http from "node:http";
import http2 from "node:http2";
import net from "node:net";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

// The packages are in PEER_MODULES, not beside this file.
const require = createRequire(resolve(process.env.PEER_MODULES ?? "", "package.json"));
// The SDK calls it, and Node has it from version 22 on.
Promise.withResolvers ??= () => {
  const deferred = {};
  deferred.promise = new Promise((resolve, reject) => Object.assign(deferred, { resolve, reject }));
  return deferred;
};
// It would write a line for each handler that ends.
process.env.RESTATE_LOGGING ??= "ERROR";
const restate = require("@restatedev/restate-sdk");
const { values: options } = parseArgs({
  options: {
    clients: { type: "string", default: "64" },
    tasks: { type: "string", default: "256" },
    steps: { type: "string", default: "200" },
    limit: { type: "string", default: "300" },
  },
});
const clients = Number(options.clients);
const tasks = Number(options.tasks);
const steps = Number(options.steps);

const folder = mkdtempSync(resolve("restate-"));
let server;

const run = async (ctx, count) => {
  const times = [];
  let total = 0;
  for (let number = 0; number < count; number += 1) {
    const begin = performance.now();
    total += await ctx.run("noop", () => number);
    times.push(performance.now() - begin);
  }
  return { total, times };
};

const freePort = () =>
  new Promise((done) => {
    const probe = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => done(port));
    });
  });

const agent = new http.Agent({ keepAlive: true, maxSockets: clients });

const post = (port, path, body) =>
  new Promise((done, fail) => {
    const text = JSON.stringify(body);
    const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(text) };
    const request = http.request({ agent, host: "127.0.0.1", port, path, method: "POST", headers }, (answer) => {
      const pieces = [];
      answer.on("data", (piece) => pieces.push(piece));
      answer.on("end", () => {
        const said = Buffer.concat(pieces).toString();
        if (answer.statusCode >= 300) fail(new Error(`${path} answered ${answer.statusCode}: ${said}`));
        else done(JSON.parse(said));
      });
      answer.on("error", fail);
    });
    request.on("error", fail);
    request.end(text);
  });

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

const ready = async (port, path) => {
  for (let tries = 0; tries < 600; tries += 1) {
    if (server.exitCode !== null) throw new Error(`the Restate server ended with ${server.exitCode}`);
    const answered = await new Promise((done) => {
      const request = http.get({ host: "127.0.0.1", port, path }, (answer) => {
        answer.resume();
        done(answer.statusCode === 200);
      });
      request.on("error", () => done(false));
    });
    if (answered) return;
    await sleep(50);
  }
  throw new Error("the Restate server did not start within 30 s");
};

const usage = (pid) => {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").pop().split(" ");
  const peak = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  return { cpu: (Number(stat[11]) + Number(stat[12])) / 100, peak: Number(peak[1]) / 1024 };
};

const percentile = (values, share) => {
  const sorted = Float64Array.from(values).sort();
  return Number(sorted[Math.round((sorted.length - 1) * share)].toFixed(3));
};

const syncTimes = () => {
  const times = [];
  const file = openSync(join(folder, "probe"), "a");
  for (let round = 0; round < 100; round += 1) {
    writeSync(file, Buffer.alloc(300));
    const begin = performance.now();
    fdatasyncSync(file);
    times.push(performance.now() - begin);
  }
  closeSync(file);
  return times;
};

const drive = async (ingress) => {
  const times = [];
  let left = tasks;
  const client = async () => {
    while (left > 0) {
      left -= 1;
      const { total, times: own } = await post(ingress, "/peer/run", steps);
      if (total !== (steps * (steps - 1)) / 2) throw new Error(`a handler returned ${total}`);
      for (const time of own) times.push(time);
    }
  };
  const begin = performance.now();
  await Promise.all(Array.from({ length: clients }, client));
  return { elapsed: (performance.now() - begin) / 1e3, times };
};

const measure = async () => {
  const [ingress, admin, node, service] = [await freePort(), await freePort(), await freePort(), await freePort()];
  const binary = require.resolve(`@restatedev/restate-server-${process.platform}-${process.arch}/bin/restate-server`);
  server = spawn(binary, ["--base-dir", folder, "--node-name", "peer"], {
    env: {
      ...process.env,
      RESTATE_INGRESS__BIND_ADDRESS: `127.0.0.1:${ingress}`,
      RESTATE_ADMIN__BIND_ADDRESS: `127.0.0.1:${admin}`,
      RESTATE_BIND_ADDRESS: `127.0.0.1:${node}`,
      RESTATE_ADVERTISED_ADDRESS: `http://127.0.0.1:${node}/`,
      RESTATE_DISABLE_TELEMETRY: "true",
      RUST_LOG: "error",
    },
    stdio: ["ignore", "ignore", "inherit"],
  });
  const handlers = restate.endpoint().bind(restate.service({ name: "peer", handlers: { run } }));
  http2.createServer(handlers.http2Handler()).listen(service, "127.0.0.1");
  await ready(admin, "/health");
  await post(admin, "/deployments", { uri: `http://127.0.0.1:${service}` });
  await ready(ingress, "/restate/health");
  await post(ingress, "/peer/run", 10);

  const syncs = syncTimes();
  const before = [usage(server.pid), usage(process.pid)];
  const { elapsed, times } = await drive(ingress);
  const after = [usage(server.pid), usage(process.pid)];
  const all = tasks * steps;
  const round = (value) => Number(value.toFixed(3));
  const cpu = after[0].cpu - before[0].cpu + after[1].cpu - before[1].cpu;
  return {
    bench: "steps",
    what: "no-op steps of handlers; Restate server, one Node process with the handlers and the clients",
    store: "restate",
    durability: "the server's defaults: its log in RocksDB, on disk",
    runs_at_once: clients,
    tasks,
    steps_per_task: steps,
    steps_per_second: round(all / elapsed),
    step_ms: { p50: percentile(times, 0.5), p99: percentile(times, 0.99) },
    server_cpu_us_per_step: round((cpu * 1e6) / all),
    server_peak_rss_mib: round(after[0].peak + after[1].peak),
    fdatasync_ms: { p50: percentile(syncs, 0.5), p99: percentile(syncs, 0.99) },
  };
};

const timer = setTimeout(() => {
  console.error(`not done within ${options.limit} s`);
  end(1);
}, Number(options.limit) * 1e3);

const end = (code) => {
  clearTimeout(timer);
  const gone = () => {
    rmSync(folder, { recursive: true, force: true });
    process.exit(code);
  };
  if (server === undefined || server.exitCode !== null) return gone();
  server.once("exit", gone);
  server.kill("SIGTERM");
  setTimeout(() => server.kill("SIGKILL"), 10_000);
};

process.on("SIGTERM", () => end(1));
try {
  console.log(JSON.stringify(await measure()));
  end(0);
} catch (error) {
  console.error(error);
  end(1);
}
