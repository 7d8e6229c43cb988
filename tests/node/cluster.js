// ioredis's Cluster against nodes of this machine (ports on the command line): sets and gets keys on
// all shards, says "ready", and when a line comes on the standard input (a master was killed) goes
// on until every key can be written and read again.
"use strict";

const Redis = require("ioredis");

const ports = process.argv.slice(2).map(Number);
const cluster = new Redis.Cluster(ports.map((port) => ({ host: "127.0.0.1", port })), {
  clusterRetryStrategy: () => 100,
  retryDelayOnClusterDown: 100,
  retryDelayOnFailover: 100,
  maxRedirections: 200,
});
// Errors of single connections are expected while a master is dead.
cluster.on("error", () => {});
cluster.on("node error", () => {});

const keys = Array.from({ length: 50 }, (_, index) => `io:${index}`);

async function writeAndRead(value) {
  await Promise.all(keys.map((key) => cluster.set(key, value)));
  const found = await Promise.all(keys.map((key) => cluster.get(key)));
  if (!found.every((text) => text === value)) throw new Error(`read ${found}`);
}

async function main() {
  await writeAndRead("before");
  const masters = cluster.nodes("master").length;
  if (masters !== 3) throw new Error(`ioredis sees ${masters} masters`);
  console.log(`ready ${masters}`);
  await new Promise((resolve) => process.stdin.once("data", resolve));
  const deadline = Date.now() + 60000;
  for (;;) {
    try {
      await writeAndRead("after");
      break;
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
  }
  console.log("survived");
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
