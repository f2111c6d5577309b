"""Hands parts of a kernel to threads that still spin, inside compiled code: no lock of the interpreter, no system call.

A worker of ``threads.Team`` looks for work for a moment before it sleeps (``serve``). ``share`` lays the arguments of a
part where the worker finds them and the address of the kernel beside them, computes the first part itself, and then
waits. A part that nobody has taken by then it computes too, so that a worker that sleeps, or that another process keeps
from running, delays nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from mobilenets.kernels.compile import kernel

# Where in a worker's memory what lies, in 8-byte places; what both sides write has a cache line of its own.
OFFERED, TAKEN, DONE, ASLEEP, CALL, TARGET, FAILED, PART = 0, 8, 16, 24, 32, 33, 34, 40
ROOM = 4096  # bytes of a part's arguments
PLACES = PART + ROOM // 8

_CODE = ir.IntType(32)


def _at(builder: Any, address: Any, place: Any) -> Any:
    moved = builder.add(address, builder.mul(place, ir.Constant(place.type, 8)))
    return builder.inttoptr(moved, address.type.as_pointer())


@intrinsic
def _get(context, memory, place):
    """Read a place that another thread may write."""

    def codegen(context, builder, signature, args):
        return builder.load_atomic(_at(builder, *args), "seq_cst", 8)

    return types.intp(types.intp, types.intp), codegen


@intrinsic
def _put(context, memory, place, value):
    """Write a place that another thread may read."""

    def codegen(context, builder, signature, args):
        builder.store_atomic(args[2], _at(builder, *args[:2]), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), codegen


@intrinsic
def _take(context, memory, place, before, after):
    """Change a place from ``before`` to ``after``, and say whether it was this thread that did."""

    def codegen(context, builder, signature, args):
        found = builder.cmpxchg(_at(builder, *args[:2]), args[2], args[3], "seq_cst", "seq_cst")
        return builder.extract_value(found, 1)

    return types.boolean(*[types.intp] * 4), codegen


@intrinsic
def _pause(context):
    """Rest for some cycles while another thread is waited for, where the processor knows how."""

    def codegen(context, builder, signature, args):
        processor = builder.module.triple.partition("-")[0]
        if processor in ("x86_64", "i686"):
            form = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, form, "llvm.x86.sse2.pause"), [])
        elif processor in ("aarch64", "arm64"):
            form = ir.FunctionType(ir.VoidType(), [_CODE])
            hint = cgutils.get_or_insert_function(builder.module, form, "llvm.aarch64.hint")
            builder.call(hint, [ir.Constant(_CODE, 1)])
        return context.get_dummy_value()

    return types.void(), codegen


def _native(context: Any, builder: Any, kinds: Any, target: Any, part: Any) -> Any:
    """Call the machine code of a kernel at ``target``, as Numba's callers do; gives its code, 0 for success."""
    form = context.call_conv.get_function_type(types.none, kinds)
    given = context.get_arg_packer(kinds).as_arguments(builder, cgutils.unpack_tuple(builder, part))
    slots = [cgutils.alloca_once(builder, kind.pointee) for kind in form.args[:2]]
    return builder.call(builder.inttoptr(target, form.as_pointer()), [*slots, *given])


@intrinsic
def _lay(context, memory, part):
    """Store the arguments of a part in a worker's memory; gives the address of what calls a kernel with them."""
    if not isinstance(part, types.BaseTuple):
        return None
    signature = types.intp(types.intp, part)

    def codegen(context, builder, signature, args):
        kinds, form = list(signature.args[1].types), context.get_value_type(signature.args[1])
        assert context.get_abi_sizeof(form) <= ROOM
        start = builder.add(args[0], ir.Constant(args[0].type, 8 * PART))
        builder.store(args[1], builder.inttoptr(start, form.as_pointer()), align=8)
        name = builder.module.get_unique_name(builder.function.name + ".part")
        made = ir.Function(builder.module, ir.FunctionType(_CODE, [start.type, start.type]), name)
        made.linkage = "internal"
        inner = ir.IRBuilder(made.append_basic_block("entry"))
        part = inner.load(inner.inttoptr(made.args[1], form.as_pointer()), align=8)
        inner.ret(_native(context, inner, kinds, made.args[0], part))
        return builder.ptrtoint(made, start.type)

    return signature, codegen


@intrinsic
def _call(context, call, target, part):
    """Call what ``_lay`` gave; gives the kernel's code."""

    def codegen(context, builder, signature, args):
        form = ir.FunctionType(_CODE, [args[1].type, args[2].type])
        code = builder.call(builder.inttoptr(args[0], form.as_pointer()), args[1:])
        return builder.zext(code, args[0].type)

    return types.intp(types.intp, types.intp, types.intp), codegen


@kernel
def _run(memory, number):
    code = _call(_get(memory, CALL), _get(memory, TARGET), memory + 8 * PART)
    _put(memory, FAILED, code)
    _put(memory, DONE, number)


@kernel
def serve(memory, looks):
    """Compute the parts that are offered, until none came for so many looks."""
    seen = 0
    while True:
        taken = _get(memory, TAKEN)
        offered = _get(memory, OFFERED)
        if offered != taken:
            if _take(memory, TAKEN, taken, offered):
                _run(memory, offered)
            seen = 0
        elif seen < looks:
            seen += 1
            _pause()
        else:
            _put(memory, ASLEEP, 1)
            if _get(memory, OFFERED) == taken:
                return
            _put(memory, ASLEEP, 0)
            seen = 0


@kernel
def wait(memories, looks):
    """Wait for all parts, and compute what nobody has taken; gives 0, 1 where one failed, or −1 after so many looks."""
    failed = 0
    for index in range(memories.size):
        memory = memories[index]
        number = _get(memory, OFFERED)
        if _take(memory, TAKEN, number - 1, number):
            _run(memory, number)
        seen = 0
        while _get(memory, DONE) != number:
            if seen == looks:
                return -1
            seen += 1
            _pause()
        failed |= _get(memory, FAILED) != 0
    return 1 if failed else 0


@kernel
def share(memories, target, looks, first, others):
    """Call the kernel at ``target`` with each part, the first here; gives what ``wait`` gives.

    ``others`` is a tuple of as many parts as there are ``memories``.
    """
    for index in range(memories.size):
        memory = memories[index]
        _put(memory, CALL, _lay(memory, others[index]))
        _put(memory, TARGET, target)
        _put(memory, OFFERED, _get(memory, OFFERED) + 1)
    code = _own(target, first)
    found = wait(memories, looks)
    return 1 if code != 0 and found == 0 else found


@intrinsic
def _own(context, target, part):
    """Call the kernel at ``target`` with a part, here."""
    if not isinstance(part, types.BaseTuple):
        return None

    def codegen(context, builder, signature, args):
        code = _native(context, builder, list(signature.args[1].types), *args)
        return builder.zext(code, args[0].type)

    return types.intp(types.intp, part), codegen


def address_of(function: Any, part: tuple[Any, ...]) -> int:
    """Give the address of a kernel's machine code for arguments of these types."""
    from numba import typeof

    kinds = tuple(typeof(value) for value in part)
    function.compile(kinds)
    made = function.overloads[kinds]
    return int(made.library.get_pointer_to_function(made.fndesc.llvm_func_name))


def memory() -> tuple[Any, int]:
    """Give an array for a worker, and the address in it that begins a cache line."""
    held = np.zeros(PLACES + 8, np.int64)
    return held, -(-held.ctypes.data // 64) * 64
