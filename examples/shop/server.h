#ifndef EXAMPLES_SHOP_SERVER_H_
#define EXAMPLES_SHOP_SERVER_H_

#include "absl/time/time.h"
#include "examples/shop/panel.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/impl/service_type.h"

namespace shop {

// What the shop's servers have in common.
//
// A server process is started with `--panel=FILE`, `--port=N` (0, the default:
// the system picks), `--arm=mesh|bare` and `--identity=DIR` (see port.h). It
// listens on loopback, says "port N" on stdout and serves until SIGTERM. Then
// it lets the calls in flight finish and exits.

// Notes an arriving call in the panel and takes `service_time`, slowed down as
// the panel says. The status is UNAVAILABLE for calls that are to fail.
// Thread-safe.
grpc::Status Serve(Panel& panel, const grpc::ServerContext& context,
                   absl::Duration service_time);

// Parses the flags, then serves what `make_service` returns for the panel.
// Returns the exit code of the process.
int ServerMain(int argc, char** argv,
               std::unique_ptr<grpc::Service> (*make_service)(Panel& panel,
                                                              int argc,
                                                              char** argv));

}  // namespace shop

#endif  // EXAMPLES_SHOP_SERVER_H_
