#!/usr/bin/env node
// Asks resembled from JavaScript, over nothing but the .proto files: how many photos of each year there are, and the latest.
//
//     npm install @grpc/grpc-js @grpc/proto-loader
//     examples/client.js
//
// RESEMBLED_SOCKET says where the daemon is, where it is not at its usual place.

const path = require("node:path");
const { promisify } = require("node:util");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const protos = loader.loadSync("resembled/v1/library.proto", {
  includeDirs: [path.join(__dirname, "..", "proto")],
  keepCase: true,
  longs: String, // 64 bits are more than a number holds
  enums: String,
});
const { LibraryService } = grpc.loadPackageDefinition(protos).resembled.v1;

const runtime = process.env.XDG_RUNTIME_DIR ?? "";
const socket = process.env.RESEMBLED_SOCKET ?? `${runtime}/resembled/resembled.sock`;
const library = new LibraryService(`unix:${socket}`, grpc.credentials.createInsecure());
const call = (method, request) => promisify(library[method].bind(library))(request);

async function main() {
  const years = await call("CountPhotos", { facet: "FACET_YEAR" });
  for (const { value, photos } of years.counts) {
    console.log(`${value || "no date"}: ${photos}`);
  }
  const latest = await call("ListPhotos", { order_by: "capture_time desc", page_size: 5 });
  for (const photo of latest.photos) {
    console.log(photo.files[0].uri, photo.camera);
  }
}

main()
  .catch((error) => {
    console.error(error.details ?? error.message);
    process.exitCode = 1;
  })
  .finally(() => library.close());
