#ifndef EXAMPLES_SHOP_PORT_H_
#define EXAMPLES_SHOP_PORT_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "grpcpp/server_builder.h"

namespace shop {

// Adds a port on loopback to `builder`, as the arm has it. `port` is the port's
// number or 0, and is set when the server has started. Keep what is returned as
// long as the server.
//
// `identity` is the directory of the server's certificate. Empty: the port has
// no TLS, as the frontend's in both arms. With mesh the directory has
// server.yaml, too, and the files are watched. `arm`: "mesh" or "bare".
absl::StatusOr<std::shared_ptr<void>> AddPort(grpc::ServerBuilder* builder,
                                              const std::string& arm,
                                              const std::string& identity,
                                              int* port);

}  // namespace shop

#endif  // EXAMPLES_SHOP_PORT_H_
