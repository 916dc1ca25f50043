#ifndef MESH_BENCHMARKS_IDENTITY_STOCK_H_
#define MESH_BENCHMARKS_IDENTITY_STOCK_H_

#include <memory>
#include <string>

#include "grpcpp/security/credentials.h"
#include "grpcpp/security/server_credentials.h"

// What gRPC has for certificates that change: FileWatcherCertificateProvider,
// which looks once a second at DIRECTORY/tls.key, tls.crt and ca.crt.

namespace mesh::benchmarks {

// Wants a certificate of each client.
std::shared_ptr<grpc::ServerCredentials> StockServerCredentials(
    const std::string& directory);
// Compares the server's certificate with the name of the channel's target.
std::shared_ptr<grpc::ChannelCredentials> StockCredentials(
    const std::string& directory);

}  // namespace mesh::benchmarks

#endif  // MESH_BENCHMARKS_IDENTITY_STOCK_H_
