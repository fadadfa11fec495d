"""Triton kernels that train stacks of small ReLU networks: a few launches an update instead of a hundred.

A program carries a block of rows through all layers of one network. Hidden activations go through global memory,
where the weight gradient needs them anyway; between two layers a barrier makes them visible to all threads of
the program. Weights, moments and targets lie in flat tensors as ``StackedMLP`` places them; ``StackedMLP`` and
``torch.optim.Adam`` are the plain twin of everything here, and tests hold the two together.

Shared notation: R runs, E members, C members that form the target, A members that the actor ascends, B rows of a
batch, L hidden layers of equal width H, P parameters of a network.
"""

import triton
import triton.language as tl

# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false
# ruff: noqa: ANN001, ANN201, ANN202, N803 - Triton's arguments are pointers and upper-case compile-time constants


@triton.jit
def _layer(
    left,
    left_stride,
    weight,
    bias,
    out,
    K: tl.constexpr,
    H: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Write relu(left (BM, K) @ weight (K, H) + bias) to out (BM, H)."""
    rows = tl.arange(0, BM)[:, None]
    for n in range(0, H, BN):
        columns = n + tl.arange(0, BN)
        total = tl.zeros((BM, BN), tl.float32)
        for k in range(0, K, BK):
            ks = k + tl.arange(0, BK)
            x = tl.load(left + rows * left_stride + ks[None, :], mask=ks[None, :] < K, other=0.0)
            w = tl.load(weight + ks[:, None] * H + columns[None, :], mask=ks[:, None] < K, other=0.0)
            total = tl.dot(x, w, total, input_precision=PRECISION)
        total = tl.maximum(total + tl.load(bias + columns)[None, :], 0.0)
        tl.store(out + rows * H + columns[None, :], total)
    tl.debug_barrier()


@triton.jit
def _hidden_layers(
    x,
    x_stride,
    flat,
    hidden,
    ROWS: tl.constexpr,
    IN: tl.constexpr,
    H: tl.constexpr,
    L: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    BI: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Fill hidden (L, ROWS, H), rows of this program only."""
    _layer(x, x_stride, flat, flat + IN * H, hidden, IN, H, BM, BN, BI, PRECISION)
    for layer in tl.static_range(1, L):
        weight = flat + (IN + 1) * H + (layer - 1) * (H + 1) * H
        before = hidden + (layer - 1) * ROWS * H
        _layer(before, H, weight, weight + H * H, before + ROWS * H, H, H, BM, BN, BK, PRECISION)


@triton.jit
def _hidden_deltas(
    flat,
    hidden,
    delta,
    ROWS: tl.constexpr,
    IN: tl.constexpr,
    H: tl.constexpr,
    L: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """From the gradient by the last pre-activation in delta[L-1], that by every earlier one."""
    rows = tl.arange(0, BM)[:, None]
    for layer in tl.static_range(L - 1, 0, -1):
        weight = flat + (IN + 1) * H + (layer - 1) * (H + 1) * H
        above = delta + layer * ROWS * H
        for n in range(0, H, BN):
            columns = n + tl.arange(0, BN)
            total = tl.zeros((BM, BN), tl.float32)
            for k in range(0, H, BK):
                ks = k + tl.arange(0, BK)
                d = tl.load(above + rows * H + ks[None, :])
                w = tl.load(weight + columns[:, None] * H + ks[None, :])
                total = tl.dot(d, tl.trans(w), total, input_precision=PRECISION)
            active = tl.load(hidden + (layer - 1) * ROWS * H + rows * H + columns[None, :]) > 0
            tl.store(above - ROWS * H + rows * H + columns[None, :], tl.where(active, total, 0.0))
        tl.debug_barrier()


@triton.jit
def _scalar_head(last, weight, bias, H: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr):
    """The one output of a critic for each row, before its softplus."""
    rows = tl.arange(0, BM)[:, None]
    total = tl.zeros((BM,), tl.float32)
    for n in range(0, H, BN):
        columns = n + tl.arange(0, BN)
        h = tl.load(last + rows * H + columns[None, :])
        total += tl.sum(h * tl.load(weight + columns)[None, :], 1)
    return total + tl.load(bias)


@triton.jit
def _scalar_head_delta(grad, last, weight, delta, H: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr):
    """The gradient by the last pre-activation from that by the one output."""
    rows = tl.arange(0, BM)[:, None]
    for n in range(0, H, BN):
        columns = n + tl.arange(0, BN)
        active = tl.load(last + rows * H + columns[None, :]) > 0
        value = grad[:, None] * tl.load(weight + columns)[None, :]
        tl.store(delta + rows * H + columns[None, :], tl.where(active, value, 0.0))
    tl.debug_barrier()


@triton.jit
def _softplus(x):
    return tl.maximum(x, 0.0) + tl.log(1 + tl.exp(-tl.abs(x)))


@triton.jit
def _slope(x, RELATIVE: tl.constexpr):
    """Of the softplus, or 1 for gradients relative to it."""
    return tl.zeros_like(x) + 1 if RELATIVE else tl.sigmoid(x)


@triton.jit
def policy_kernel(
    flat,
    x,
    x_run_stride,
    noise,
    noise_run_stride,
    raw,
    hidden,
    P: tl.constexpr,
    ROWS: tl.constexpr,
    IN: tl.constexpr,
    WIDTH: tl.constexpr,
    ACT: tl.constexpr,
    ACT_PAD: tl.constexpr,
    H: tl.constexpr,
    L: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    BI: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Actions of the actors, into raw (R, ROWS, ACT); with noise and clipped, into columns IN.. of x."""
    block, run = tl.program_id(0), tl.program_id(1).to(tl.int64)
    rows = tl.arange(0, BM)[:, None]
    x += run * x_run_stride + block * BM * WIDTH
    flat += run * P
    hidden += (run * L * ROWS + block * BM) * H
    _hidden_layers(x, WIDTH, flat, hidden, ROWS, IN, H, L, BM, BN, BK, BI, PRECISION)
    last = hidden + (L - 1) * ROWS * H
    weight = flat + (IN + 1) * H + (L - 1) * (H + 1) * H
    actions = tl.arange(0, ACT_PAD)[None, :]
    inside = actions < ACT
    total = tl.zeros((BM, ACT_PAD), tl.float32)
    for k in range(0, H, BK):
        ks = k + tl.arange(0, BK)
        h = tl.load(last + rows * H + ks[None, :])
        w = tl.load(weight + ks[:, None] * ACT + actions, mask=inside, other=0.0)
        total = tl.dot(h, w, total, input_precision=PRECISION)
    total += tl.load(weight + H * ACT + actions, mask=inside, other=0.0)
    action = 2 * tl.sigmoid(2 * total) - 1
    place = (block * BM + rows) * ACT + actions
    tl.store(raw + run * ROWS * ACT + place, action, mask=inside)
    action += tl.load(noise + run * noise_run_stride + place, mask=inside, other=0.0)
    action = tl.minimum(tl.maximum(action, -1.0), 1.0)
    tl.store(x + rows * WIDTH + IN + actions, action, mask=inside)


@triton.jit
def target_kernel(
    flat,
    x,
    x_run_stride,
    members,
    members_run_stride,
    q,
    hidden,
    P: tl.constexpr,
    E: tl.constexpr,
    C: tl.constexpr,
    B: tl.constexpr,
    ROWS: tl.constexpr,
    IN: tl.constexpr,
    WIDTH: tl.constexpr,
    H: tl.constexpr,
    L: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    BI: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Values of the target critics drawn for each batch of B rows, into q (R, C, ROWS)."""
    block, net = tl.program_id(0), tl.program_id(1).to(tl.int64)
    run, chosen = net // C, net % C
    member = tl.load(members + run * members_run_stride + block * BM // B * C + chosen)
    x += run * x_run_stride + block * BM * WIDTH
    flat += (run * E + member) * P
    hidden += (net * L * ROWS + block * BM) * H
    _hidden_layers(x, WIDTH, flat, hidden, ROWS, IN, H, L, BM, BN, BK, BI, PRECISION)
    weight = flat + (IN + 1) * H + (L - 1) * (H + 1) * H
    logit = _scalar_head(hidden + (L - 1) * ROWS * H, weight, weight + H, H, BM, BN)
    tl.store(q + net * ROWS + block * BM + tl.arange(0, BM), _softplus(logit))


@triton.jit
def critic_kernel(
    flat,
    x,
    x_run_stride,
    q,
    q_stride,
    reward,
    discount,
    lower,
    row_run_stride,
    value_max,
    hidden,
    delta,
    head_grad,
    value,
    error,
    step,
    P: tl.constexpr,
    E: tl.constexpr,
    C: tl.constexpr,
    B: tl.constexpr,
    IN: tl.constexpr,
    WIDTH: tl.constexpr,
    H: tl.constexpr,
    L: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    BI: tl.constexpr,
    RELATIVE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Forward and backward pass of every critic on the squared error to the Bellman target.

    Fills hidden and delta (R·E, L, B, H), head_grad, value and error (R, E, B), and counts Adam's step.
    """
    block, net = tl.program_id(0), tl.program_id(1).to(tl.int64)
    run = net // E
    rows = block * BM + tl.arange(0, BM)
    at = run * row_run_stride + rows
    low = tl.load(q + run * C * q_stride + rows)
    for chosen in tl.static_range(1, C):
        low = tl.minimum(low, tl.load(q + (run * C + chosen) * q_stride + rows))
    target = tl.load(reward + at) + tl.load(discount + at) * low
    target = tl.minimum(tl.maximum(target, tl.load(lower + at)), value_max)

    x += run * x_run_stride + block * BM * WIDTH
    flat += net * P
    hidden += (net * L * B + block * BM) * H
    delta += (net * L * B + block * BM) * H
    _hidden_layers(x, WIDTH, flat, hidden, B, IN, H, L, BM, BN, BK, BI, PRECISION)
    last = (L - 1) * B * H
    weight = flat + (IN + 1) * H + (L - 1) * (H + 1) * H
    logit = _scalar_head(hidden + last, weight, weight + H, H, BM, BN)
    estimate = _softplus(logit)
    grad = (estimate - target) * _slope(logit, RELATIVE) * (2.0 / B)
    tl.store(head_grad + net * B + rows, grad)
    tl.store(value + net * B + rows, estimate)
    tl.store(error + net * B + rows, estimate - target)
    _scalar_head_delta(grad, hidden + last, weight, delta + last, H, BM, BN)
    _hidden_deltas(flat, hidden, delta, B, IN, H, L, BM, BN, BK, PRECISION)
    if (block == 0) & (net == 0):
        tl.store(step, tl.load(step) + 1)


@triton.jit
def ascend_kernel(
    flat,
    x,
    x_run_stride,
    members,
    members_run_stride,
    hidden,
    delta,
    value,
    grad_action,
    P: tl.constexpr,
    E: tl.constexpr,
    A: tl.constexpr,
    B: tl.constexpr,
    IN: tl.constexpr,
    WIDTH: tl.constexpr,
    ACT: tl.constexpr,
    ACT_PAD: tl.constexpr,
    H: tl.constexpr,
    L: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    BI: tl.constexpr,
    RELATIVE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The gradient of minus the mean value of A members by the action, into grad_action (R, A, B, ACT)."""
    block, net = tl.program_id(0), tl.program_id(1).to(tl.int64)
    run, chosen = net // A, net % A
    member = tl.load(members + run * members_run_stride + chosen)
    rows = tl.arange(0, BM)
    x += run * x_run_stride + block * BM * WIDTH
    flat += (run * E + member) * P
    hidden += (net * L * B + block * BM) * H
    delta += (net * L * B + block * BM) * H
    _hidden_layers(x, WIDTH, flat, hidden, B, IN, H, L, BM, BN, BK, BI, PRECISION)
    last = (L - 1) * B * H
    weight = flat + (IN + 1) * H + (L - 1) * (H + 1) * H
    logit = _scalar_head(hidden + last, weight, weight + H, H, BM, BN)
    tl.store(value + net * B + block * BM + rows, _softplus(logit))
    grad = _slope(logit, RELATIVE) * (-1.0 / (A * B))
    _scalar_head_delta(grad, hidden + last, weight, delta + last, H, BM, BN)
    _hidden_deltas(flat, hidden, delta, B, IN, H, L, BM, BN, BK, PRECISION)
    actions = tl.arange(0, ACT_PAD)
    inside = actions < ACT
    total = tl.zeros((BM, ACT_PAD), tl.float32)
    for k in range(0, H, BK):
        ks = k + tl.arange(0, BK)
        d = tl.load(delta + rows[:, None] * H + ks[None, :])
        w = tl.load(flat + (IN - ACT + actions)[:, None] * H + ks[None, :], mask=inside[:, None], other=0.0)
        total = tl.dot(d, tl.trans(w), total, input_precision=PRECISION)
    place = (net * B + block * BM + rows)[:, None] * ACT + actions[None, :]
    tl.store(grad_action + place, total, mask=inside[None, :])


@triton.jit
def actor_kernel(
    flat,
    noise,
    noise_run_stride,
    raw,
    grad_action,
    hidden,
    delta,
    head_grad,
    step,
    penalty,
    saturated,
    P: tl.constexpr,
    A: tl.constexpr,
    B: tl.constexpr,
    IN: tl.constexpr,
    ACT: tl.constexpr,
    ACT_PAD: tl.constexpr,
    H: tl.constexpr,
    L: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Backward pass of the actors from grad_action; fills delta (R, L, B, H) and head_grad (R, B, ACT).

    Actions beyond ±saturated are pushed back, by up to ``penalty`` each.
    """
    block, run = tl.program_id(0), tl.program_id(1).to(tl.int64)
    rows = tl.arange(0, BM)[:, None]
    actions = tl.arange(0, ACT_PAD)
    inside = (actions < ACT)[None, :]
    place = (block * BM + rows) * ACT + actions[None, :]
    grad = tl.zeros((BM, ACT_PAD), tl.float32)
    for chosen in tl.static_range(0, A):
        grad += tl.load(grad_action + (run * A + chosen) * B * ACT + place, mask=inside, other=0.0)
    action = tl.load(raw + run * B * ACT + place, mask=inside, other=0.0)
    disturbed = action + tl.load(noise + run * noise_run_stride + place, mask=inside, other=0.0)
    # where clipped, the action has no influence
    grad = tl.where(tl.abs(disturbed) <= 1, grad * (1 - action * action), 0.0)
    excess = penalty * tl.maximum(tl.abs(action) - saturated, 0.0) / (1 - saturated)
    grad += tl.where(action > 0, excess, -excess)
    tl.store(head_grad + run * B * ACT + place, grad, mask=inside)

    flat += run * P
    hidden += (run * L * B + block * BM) * H
    delta += (run * L * B + block * BM) * H
    last = (L - 1) * B * H
    weight = flat + (IN + 1) * H + (L - 1) * (H + 1) * H
    for n in range(0, H, BN):
        columns = n + tl.arange(0, BN)
        w = tl.load(weight + columns[:, None] * ACT + actions[None, :], mask=inside, other=0.0)
        total = tl.dot(grad, tl.trans(w), input_precision=PRECISION)
        active = tl.load(hidden + last + rows * H + columns[None, :]) > 0
        tl.store(delta + last + rows * H + columns[None, :], tl.where(active, total, 0.0))
    tl.debug_barrier()
    _hidden_deltas(flat, hidden, delta, B, IN, H, L, BM, BN, BK, PRECISION)
    if (block == 0) & (run == 0):
        tl.store(step, tl.load(step) + 1)


@triton.jit
def _adam(flat, mean, square, target, at, mask, grad, count, lr, tau, POLYAK: tl.constexpr):
    """One step of Adam (Kingma & Ba 2015, beta 0.9 and 0.999, eps 1e-8) on a tile, and of its Polyak average."""
    m = 0.9 * tl.load(mean + at, mask=mask, other=0.0) + 0.1 * grad
    s = 0.999 * tl.load(square + at, mask=mask, other=0.0) + 0.001 * grad * grad
    correction = 1 - tl.exp(count * -0.10536051565782628)  # log(0.9)
    root_correction = tl.sqrt(1 - tl.exp(count * -0.0010005003335835335))  # log(0.999)
    p = tl.load(flat + at, mask=mask, other=0.0) - lr / correction * m / (tl.sqrt(s) / root_correction + 1e-8)
    tl.store(mean + at, m, mask=mask)
    tl.store(square + at, s, mask=mask)
    tl.store(flat + at, p, mask=mask)
    if POLYAK:
        t = tl.load(target + at, mask=mask, other=0.0)
        tl.store(target + at, t + tau * (p - t), mask=mask)


@triton.jit
def _weight_tile(
    flat,
    mean,
    square,
    target,
    weight,
    left,
    left_stride,
    right,
    right_stride,
    row,
    column,
    count,
    lr,
    tau,
    B: tl.constexpr,
    IN: tl.constexpr,
    OUT: tl.constexpr,
    BI: tl.constexpr,
    BO: tl.constexpr,
    BK: tl.constexpr,
    POLYAK: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Tile (row, column) of left (B, IN).T @ right (B, OUT), the gradient by the weights at offset ``weight``."""
    ins = row * BI + tl.arange(0, BI)
    outs = column * BO + tl.arange(0, BO)
    total = tl.zeros((BI, BO), tl.float32)
    bias = tl.zeros((BO,), tl.float32)
    for k in range(0, B, BK):
        ks = (k + tl.arange(0, BK))[:, None]
        x = tl.load(left + ks * left_stride + ins[None, :], mask=ins[None, :] < IN, other=0.0)
        d = tl.load(right + ks * right_stride + outs[None, :], mask=outs[None, :] < OUT, other=0.0)
        bias += tl.sum(d, 0)
        if PRECISION == "tf32":
            # 16-bit operands are transposed on their way to the matrix units, TF32 ones are not (535 against 650 us an
            # update); gradients of the worst layer were 2.6 % off, 1.9 % with plain TF32
            total = tl.dot(tl.trans(x.to(tl.bfloat16)), d.to(tl.bfloat16), total)
        else:
            total = tl.dot(tl.trans(x), d, total, input_precision=PRECISION)
    within = (ins[:, None] < IN) & (outs[None, :] < OUT)
    at = weight + ins[:, None] * OUT + outs[None, :]
    _adam(flat, mean, square, target, at, within, total, count, lr, tau, POLYAK)
    if row == 0:
        _adam(flat, mean, square, target, weight + IN * OUT + outs, outs < OUT, bias, count, lr, tau, POLYAK)


@triton.jit
def adam_kernel(
    flat,
    mean,
    square,
    target,
    step,
    rates,
    tau,
    x,
    x_run_stride,
    hidden,
    delta,
    head_grad,
    P: tl.constexpr,
    E: tl.constexpr,
    B: tl.constexpr,
    IN: tl.constexpr,
    WIDTH: tl.constexpr,
    OUT: tl.constexpr,
    OUT_PAD: tl.constexpr,
    H: tl.constexpr,
    L: tl.constexpr,
    TILE: tl.constexpr,
    BI: tl.constexpr,
    BK: tl.constexpr,
    POLYAK: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The gradient by a tile of weights, used at once for Adam and the targets: it is never written.

    Programs of a network: the tiles of layer 0 (BI x TILE), of the other hidden layers (TILE x TILE), of the
    head (TILE x OUT). The first row of tiles of each layer does the biases.
    """
    pid, net = tl.program_id(0), tl.program_id(1).to(tl.int64)
    flat += net * P
    mean += net * P
    square += net * P
    target += net * P
    hidden += net * L * B * H
    delta += net * L * B * H
    head_grad += net * B * OUT
    count = tl.load(step)
    lr = tl.load(rates + net // E)
    across: tl.constexpr = H // TILE
    first: tl.constexpr = ((IN + BI - 1) // BI) * across
    middle: tl.constexpr = (L - 1) * across * across
    if pid < first:
        x += net // E * x_run_stride
        row, column = pid // across, pid % across
        _weight_tile(
            flat, mean, square, target, 0, x, WIDTH, delta, H, row, column, count, lr, tau,
            B, IN, H, BI, TILE, BK, POLYAK, PRECISION,
        )  # fmt: skip
    elif pid < first + middle:
        layer = (pid - first) // (across * across)
        tile = (pid - first) % (across * across)
        left, right = hidden + layer * B * H, delta + (layer + 1) * B * H
        weight = (IN + 1) * H + layer * (H + 1) * H
        _weight_tile(
            flat, mean, square, target, weight, left, H, right, H, tile // across, tile % across, count, lr, tau,
            B, H, H, TILE, TILE, BK, POLYAK, PRECISION,
        )  # fmt: skip
    else:
        left = hidden + (L - 1) * B * H
        weight = (IN + 1) * H + (L - 1) * (H + 1) * H
        _weight_tile(
            flat, mean, square, target, weight, left, H, head_grad, OUT, pid - first - middle, 0, count, lr, tau,
            B, H, OUT, TILE, OUT_PAD, BK, POLYAK, PRECISION,
        )  # fmt: skip
