#ifndef MESH_GRPC_ACCESS_H_
#define MESH_GRPC_ACCESS_H_

// The one door to what gRPC keeps private.
//
// gRPC C++ has no public way to decide per call which connection it uses. But
// grpc::ChannelInterface, Channel, ClientContext and CompletionQueue befriend
// the class template internal::BlockingUnaryCallImpl<In, Out>; a
// specialisation of it for a type of ours is a legal accessor. All that mesh
// relies on beyond the public API is here and in this list; version.h pins the
// gRPC version. The room is mesh/grpc and its namespace mesh::core: a namespace
// mesh::grpc would hide ::grpc from all of mesh.
//
//  Channel          its grpc_channel, its callback queue, its constructor
//  ClientContext    the running grpc_call, the lock around it, received and
//                   sent metadata, flags, parent call, interceptor list
//  CompletionQueue  the count of batches that hold a shutdown back
//  grpc_inproc_channel_create  as grpc::Server::InProcessChannel() uses it
//  CallOpGenericRecvMessage, CallOpSendMessage, CallOpRecvInitialMetadata,
//  CallOpSet, InterceptorBatchMethodsImpl, ClientRpcInfo, ServerBuilder  one
//                   private member each, or two
//  ExternalConnectionAcceptor  that it takes the bytes that come with a socket
//  ServerCredentials  one of its own kind: server_credentials.h
//  internal::*      Call, CallHook, CallOpSetInterface and the op classes of
//                   grpcpp/impl/call_op_set.h, InterceptorBatchMethodsImpl,
//                   MetadataMap

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "grpc/grpc.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/impl/call_op_set.h"
#include "grpcpp/impl/server_builder_option.h"
#include "grpcpp/support/client_interceptor.h"
#include "grpcpp/support/server_interceptor.h"

// Exported by the core for libgrpc++; its header is not installed.
grpc_channel* grpc_inproc_channel_create(grpc_server* server,
                                         const grpc_channel_args* args,
                                         void* reserved);

namespace mesh::core {

// A channel to a server in this process, which is started.
inline grpc_channel* CreateInProcessChannel(grpc_server* server,
                                            const grpc_channel_args* args) {
  return grpc_inproc_channel_create(server, args, nullptr);
}

struct AccessTag {};

using InterceptorFactories = std::vector<
    std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>>;

}  // namespace mesh::core

template <>
class grpc::internal::BlockingUnaryCallImpl<mesh::core::AccessTag,
                                            mesh::core::AccessTag> {
 public:
  // --- Channel
  static grpc_channel* CoreChannel(grpc::Channel* channel) {
    return channel->c_channel_;
  }
  static grpc::CompletionQueue* CallbackQueue(ChannelInterface* channel) {
    return channel->CallbackCQ();
  }
  // Takes `core`.
  static std::shared_ptr<grpc::Channel> Wrap(grpc_channel* core) {
    return std::shared_ptr<grpc::Channel>(new grpc::Channel("", core, {}));
  }

  // --- ClientContext
  static MetadataMap& InitialMetadata(ClientContext* context) {
    return context->recv_initial_metadata_;
  }
  static MetadataMap& TrailingMetadata(ClientContext* context) {
    return context->trailing_metadata_;
  }
  static std::multimap<std::string, std::string>& SentMetadata(
      ClientContext* context) {
    return context->send_initial_metadata_;
  }
  static uint32_t InitialMetadataFlags(ClientContext* context) {
    return context->initial_metadata_flags();
  }
  static bool wait_for_ready(ClientContext* context) {
    return context->wait_for_ready_;
  }
  static bool wait_for_ready_is_set(ClientContext* context) {
    return context->wait_for_ready_explicitly_set_;
  }
  static grpc_call* Parent(ClientContext* context) {
    return context->propagate_from_call_;
  }
  static uint32_t Propagation(ClientContext* context) {
    return context->propagation_options_.c_bitmask();
  }
  static const std::string& Authority(ClientContext* context) {
    return context->authority_;
  }
  static void SetDebugString(ClientContext* context, const std::string& text) {
    context->set_debug_error_string(text);
  }
  static experimental::ClientRpcInfo* SetRpcInfo(
      ClientContext* context, const RpcMethod& method,
      ChannelInterface* channel,
      const mesh::core::InterceptorFactories& factories, size_t position) {
    return context->set_client_rpc_info(
        method.name(), method.suffix_for_stats(), method.method_type(), channel,
        factories, position);
  }
  // As gRPC does it: applies call credentials, and cancels when TryCancel()
  // came first. The context keeps no channel alive: the core's call does.
  static void SetCall(ClientContext* context, grpc_call* call) {
    context->set_call(call, nullptr);
  }
  // Guards the running call: TryCancel() holds it.
  static grpc::internal::Mutex* Mu(ClientContext* context) {
    return &context->mu_;
  }
  // With Mu() held. Returns the call that ran before.
  static grpc_call* SwapCall(ClientContext* context, grpc_call* call) {
    return std::exchange(context->call_, call);
  }

  // --- CompletionQueue
  static void RegisterAvalanching(grpc::CompletionQueue* queue) {
    queue->RegisterAvalanching();
  }
  static void CompleteAvalanching(grpc::CompletionQueue* queue) {
    queue->CompleteAvalanching();
  }
};

namespace mesh::core {

// An explicit instantiation may name a private member ([temp.spec], 14.7.2/12):
// MESH_EXPOSE(Name, Type, Class, member) makes Name() a pointer to that member.
#define MESH_EXPOSE(Name, Type, Class, member)    \
  Type Class::*Name();                            \
  template <Type Class::*Member>                  \
  struct Expose##Name {                           \
    friend Type Class::*Name() { return Member; } \
  };                                              \
  template struct Expose##Name<&Class::member>

// CallOpGenericRecvMessage forgets how to read its message once it has been
// received: what it forgets can be kept and put back.
using Deserializer = std::unique_ptr<grpc::internal::DeserializeFunc>;
MESH_EXPOSE(DeserializerMember, Deserializer,
            grpc::internal::CallOpGenericRecvMessage, deserialize_);

// How a message is to be written, until it goes to the core.
MESH_EXPOSE(WriteOptionsMember, grpc::WriteOptions,
            grpc::internal::CallOpSendMessage, write_options_);
// Null where no initial metadata is to be received.
MESH_EXPOSE(MetadataMember, grpc::internal::MetadataMap*,
            grpc::internal::CallOpRecvInitialMetadata, metadata_map_);
// The batch that an interceptor is shown, and the call that it was started on.
MESH_EXPOSE(OpsMember, grpc::internal::CallOpSetInterface*,
            grpc::internal::InterceptorBatchMethodsImpl, ops_);
MESH_EXPOSE(CallMember, grpc::internal::Call*,
            grpc::internal::InterceptorBatchMethodsImpl, call_);
// The interceptors of a call, in the order in which they see it go down.
using Interceptors =
    std::vector<std::unique_ptr<grpc::experimental::Interceptor>>;
MESH_EXPOSE(InterceptorsMember, Interceptors, grpc::experimental::ClientRpcInfo,
            interceptors_);
// Whether it is on its way up.
MESH_EXPOSE(ReverseMember, bool, grpc::internal::InterceptorBatchMethodsImpl,
            reverse_);
// Whether a batch succeeded, and what it shows interceptors: neighbours in
// every CallOpSet, whatever its operations are.
using AnyCallOpSet =
    grpc::internal::CallOpSet<grpc::internal::CallOpRecvInitialMetadata>;
MESH_EXPOSE(SavedStatusMember, bool, AnyCallOpSet, saved_status_);
// Whether interceptors have seen what it brought; a neighbour, too.
MESH_EXPOSE(DoneMember, bool, AnyCallOpSet, done_intercepting_);
MESH_EXPOSE(BatchMethodsMember, grpc::internal::InterceptorBatchMethodsImpl,
            AnyCallOpSet, interceptor_methods_);

// A builder's interceptors can only be replaced as a whole, and an application
// may do so after mesh::server::Attach(): one more is added at the end.
using InterceptorCreators = std::vector<
    std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>>;
MESH_EXPOSE(CreatorsMember, InterceptorCreators, grpc::ServerBuilder,
            interceptor_creators_);
// Tells what mesh has given a builder before.
using BuilderOptions = std::vector<std::unique_ptr<grpc::ServerBuilderOption>>;
MESH_EXPOSE(OptionsMember, BuilderOptions, grpc::ServerBuilder, options_);

using Access = grpc::internal::BlockingUnaryCallImpl<AccessTag, AccessTag>;
}  // namespace mesh::core

#endif  // MESH_GRPC_ACCESS_H_
