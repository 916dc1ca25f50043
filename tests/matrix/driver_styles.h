// What the drivers of the styles share, and how driver.cc makes them.

#ifndef TESTS_MATRIX_DRIVER_STYLES_H_
#define TESTS_MATRIX_DRIVER_STYLES_H_

#include <cstdint>
#include <memory>
#include <string>

#include "grpcpp/grpcpp.h"
#include "tests/matrix/driver.h"
#include "tests/support/test_service.pb.h"

namespace mesh::test {

// Each makes a driver for a style that is its own, or returns nullptr.
std::unique_ptr<Driver> MakeSyncDriver(
    Kind kind, std::shared_ptr<grpc::ChannelInterface> channel);
std::unique_ptr<Driver> MakeAsyncDriver(
    Kind kind, Style style, std::shared_ptr<grpc::ChannelInterface> channel);
std::unique_ptr<Driver> MakeCallbackDriver(
    Kind kind, Style style, std::shared_ptr<grpc::ChannelInterface> channel);

// The path of the method, for generic stubs.
std::string MethodOf(Kind kind);

// The messages of generic stubs, which are of either type.
void Encode(const Request& request, Request* message);
void Encode(const Request& request, grpc::ByteBuffer* message);
void Decode(Reply& message, Reply* reply);
void Decode(grpc::ByteBuffer& message, Reply* reply);

// Names an operation of a call.
enum Tag : intptr_t {
  kStartTag = 1,
  kInitialMetadataTag,
  kWriteTag,
  kWritesDoneTag,
  kReadTag,
  kFinishTag
};

}  // namespace mesh::test

#endif  // TESTS_MATRIX_DRIVER_STYLES_H_
