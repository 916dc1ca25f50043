#!/usr/bin/env bash
# ./run compile-check, against the system's headers and against some that are
# broken.
set -uo pipefail

# shellcheck source=../support/steps.sh
source tests/support/steps.sh CompileCheckTest
readonly tree=$TEST_TMPDIR/tree
mkdir -p "$tree"
cp -RL mesh tools "$tree"
cd "$tree" || exit 1

check() { # ARGUMENTS...
  python3 tools/compile_check.py "$@"
}

every_source_compiles() {
  local said
  said=$(check --fast /usr/include) || {
    echo "$said"
    return 1
  }
  [[ $said =~ ^([0-9]+)\ of\ ([0-9]+)\ sources\ compile$ &&
    ${BASH_REMATCH[1]} == "${BASH_REMATCH[2]}" && ${BASH_REMATCH[1]} -gt 50 ]]
}
step EverySourceCompiles every_source_compiles

# Before the system's: a header that is an error is found, and named.
names_what_fails() {
  mkdir -p broken/yaml-cpp
  echo '#error "this is not yaml-cpp"' >broken/yaml-cpp/parser.h
  local said
  said=$(check --reaching yaml-cpp broken) && return 1
  echo "$said"
  [[ $said == "mesh/config/"*$'.cc\n'*'this is not yaml-cpp'* &&
    $said == *'0 of 1 sources compile' ]]
}
step NamesWhatFailsAndItsFirstError names_what_fails

wants_directories() {
  ! check && ! check /nonexistent && ! check --no-such-option /usr/include
}
step WantsDirectories wants_directories

takes_protoc() {
  local said
  said=$(PROTOC=/bin/false check --reaching yaml-cpp /usr/include 2>&1) &&
    return 1
  [[ $said == *protoc* ]]
}
step TakesProtocFromTheEnvironment takes_protoc

# ---- gRPC without CallHook --------------------------------------------------
# As from 1.79 on: nothing of that name, and calls are made without a hook. What
# is in its place here has another name, so that the copy compiles.

without_hook() {
  mkdir -p no_hook
  cp -r /usr/include/grpcpp no_hook/
  grep -rl CallHook no_hook | xargs sed -i 's/CallHook/RenamedHook/g'
  sed -i '/^class Call final {/,/^ public:/s/^ public:$/&\
  Call(grpc_call* call, grpc::CompletionQueue* cq)\
      : Call(call, nullptr, cq) {}\
  Call(grpc_call* call, grpc::CompletionQueue* cq,\
       experimental::ClientRpcInfo* rpc_info)\
      : Call(call, nullptr, cq, rpc_info) {}/' no_hook/grpcpp/impl/call.h
  ! grep -rqw CallHook no_hook && grep -q 'Call(call, nullptr, cq)' \
    no_hook/grpcpp/impl/call.h
}
step MakesHeadersWithoutCallHook without_hook
step CompilesWithoutCallHook check --fast --reaching grpc -DMESH_CALL_HOOK=0 \
  no_hook

names_the_door() {
  local said
  said=$(check --fast --reaching mesh/grpc/call_hook.h -DMESH_CALL_HOOK=1 \
    no_hook) && return 1
  echo "$said"
  # Every source that fails does so there.
  [[ $said == *mesh/grpc/call_hook.h:* ]] &&
    ! grep '^    ' <<<"$said" | grep -v 'mesh/grpc/call_hook\.h:'
}
step NamesTheDoorThatWantsIt names_the_door

finish
