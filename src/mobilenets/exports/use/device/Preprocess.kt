// From an upright picture to the network's input, bit for bit as in the Python package: Pillow's
// separable filters in fixed point, rows first, as model.json says. Plain Kotlin; what needs Android is in Pictures.kt.
package mobilenets

import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.PI
import kotlin.math.abs
import kotlin.math.exp
import kotlin.math.max
import kotlin.math.min
import kotlin.math.round
import kotlin.math.sin

/** `preprocessing` of model.json. */
class Preprocessing(
    val size: Int, val resize: String, val cropFraction: Double, val interpolation: String,
    val scale: Double, val mean: List<Double>, val std: List<Double>, val fill: List<Int>,
)

/** Pixel (x, y) is at start + x * across + y * down, 0xRRGGBB; higher bits are ignored. Turning copies nothing. */
class Picture(
    val pixels: IntArray, val width: Int, val height: Int,
    val start: Int = 0, val across: Int = 1, val down: Int = width,
) {
    operator fun get(x: Int, y: Int) = pixels[start + x * across + y * down]

    fun transposed() = Picture(pixels, height, width, start, down, across)

    /** By EXIF's orientation, 1 to 8. */
    fun upright(orientation: Int): Picture {
        // 5 swaps rows and columns; 6 to 8 rotate before that.
        if (orientation in 5..8) return upright(intArrayOf(1, 4, 3, 2)[orientation - 5]).transposed()
        val mirrored = orientation == 2 || orientation == 3
        val upsideDown = orientation == 3 || orientation == 4
        val first = start + (if (mirrored) (width - 1) * across else 0) + (if (upsideDown) (height - 1) * down else 0)
        return Picture(pixels, width, height, first, if (mirrored) -across else across, if (upsideDown) -down else down)
    }

    /** Clockwise by 0, 90, 180 or 270 degrees, as cameras report it. */
    fun turned(degrees: Int) = upright(intArrayOf(1, 6, 3, 8)[degrees / 90 % 4])
}

/** Put pixels 0xAARRGGBB (not premultiplied) on white, in place. */
fun layOnWhite(pixels: IntArray) {
    for (place in pixels.indices) {
        val pixel = pixels[place]
        val alpha = pixel ushr 24
        if (alpha == 255) continue
        var made = 255
        for (shift in intArrayOf(16, 8, 0)) {
            val sum = (((pixel shr shift and 255) * alpha + 255 * (255 - alpha)) shl 7) + (0x80 shl 7)
            made = made shl 8 or ((((sum shr 8) + sum) shr 8) shr 7)
        }
        pixels[place] = made
    }
}

/** The used part of a side, and how many pixels it becomes. */
private class Span(val from: Float, val to: Float, val wanted: Int)

/** For one output pixel: its first input pixel, and the weight of each in units of 2^-22. */
private class Weights(val first: Int, val values: IntArray)

private fun span(side: Int, shorter: Int, longer: Int, how: Preprocessing): Span {
    val size = how.size
    if (how.resize == "crop") {
        val scaled = round(size / how.cropFraction).toLong() * side / shorter
        val offset = round((scaled - size) / 2.0) // half to even
        return Span((side * offset / scaled).toFloat(), (side * (offset + size) / scaled).toFloat(), size)
    }
    val fitted = if (how.resize == "pad") round(size.toDouble() * side / longer).toInt() else size
    return Span(0f, side.toFloat(), max(1, fitted))
}

private fun sinc(x: Double) = if (x == 0.0) 1.0 else sin(x * PI) / (x * PI)

private fun filter(name: String, distance: Double): Double {
    val x = abs(distance)
    return when (name) {
        "bilinear" -> max(0.0, 1 - x)
        "lanczos" -> if (x < 3) sinc(x) * sinc(x / 3) else 0.0
        else -> if (x < 1) (1.5 * x - 2.5) * x * x + 1 else if (x < 2) (((x - 5) * x + 8) * x - 4) * -0.5 else 0.0
    }
}

private fun weights(side: Int, span: Span, name: String): List<Weights> {
    val one = 1 shl 22
    val step = (span.to - span.from).toDouble() / span.wanted
    val wide = max(step, 1.0)
    val reach = requireNotNull(mapOf("nearest" to 0, "bilinear" to 1, "bicubic" to 2, "lanczos" to 3)[name]) {
        "no code here resizes by $name: use Python's or the browser's"
    } * wide
    var nearest = span.from + step * 0.5 // summed: a product would round differently
    return List(span.wanted) { place ->
        if (name == "nearest") {
            val at = nearest
            nearest += step
            return@List if (at >= 0 && at < side) Weights(at.toInt(), intArrayOf(one)) else Weights(0, IntArray(0))
        }
        val centre = span.from + (place + 0.5) * step
        val first = max(0, (centre - reach + 0.5).toInt())
        val last = min(side, (centre + reach + 0.5).toInt())
        val shares = DoubleArray(last - first) { filter(name, (it + first - centre + 0.5) * (1 / wide)) }
        var sum = 0.0
        for (share in shares) sum += share
        Weights(first, IntArray(shares.size) {
            val value = shares[it] / sum * one
            (value + if (value < 0) -0.5 else 0.5).toInt()
        })
    }
}

/** Resize each row of a picture to as many pixels as there are weights. */
private fun filtered(picture: Picture, weights: List<Weights>): Picture {
    val made = IntArray(weights.size * picture.height)
    var to = 0
    for (y in 0 until picture.height) for (one in weights) {
        var red = 1 shl 21
        var green = red
        var blue = red
        var from = picture.start + one.first * picture.across + y * picture.down
        for (value in one.values) {
            val pixel = picture.pixels[from]
            red += value * (pixel shr 16 and 255)
            green += value * (pixel shr 8 and 255)
            blue += value * (pixel and 255)
            from += picture.across
        }
        made[to++] = level(red) shl 16 or (level(green) shl 8) or level(blue)
    }
    return Picture(made, weights.size, picture.height)
}

private fun level(sum: Int) = (sum shr 22).coerceIn(0, 255)

/** Resize, and crop or pad: an upright picture of any size to `size` x `size`. */
fun fit(picture: Picture, how: Preprocessing): Picture {
    val shorter = min(picture.width, picture.height)
    val longer = max(picture.width, picture.height)
    val along = weights(picture.width, span(picture.width, shorter, longer, how), how.interpolation)
    val below = weights(picture.height, span(picture.height, shorter, longer, how), how.interpolation)
    // Only the rows that the second pass needs.
    val first = below.first().first
    val last = below.last().first + below.last().values.size
    val start = picture.start + first * picture.down
    val seen = Picture(picture.pixels, picture.width, last - first, start, picture.across, picture.down)
    val rows = filtered(seen, along)
    val fitted = filtered(rows.transposed(), below.map { Weights(it.first - first, it.values) }).transposed()
    val size = how.size
    val left = (size - fitted.width) / 2
    val upper = (size - fitted.height) / 2
    val fill = how.fill.fold(0) { colour, value -> colour shl 8 or value }
    return Picture(IntArray(size * size) {
        val x = it % size - left
        val y = it / size - upper
        if (x in 0 until fitted.width && y in 0 until fitted.height) fitted[x, y] else fill
    }, size, size)
}

/**
 * The file's input for one picture: bytes as they are (uint8), or float32 `(value * scale - mean) / std`; channel after
 * channel (NCHW) or in rows of pixels (NHWC); repeated where the file takes a batch.
 */
fun numbers(picture: Picture, how: Preprocessing, input: String, layout: String, batch: Int = 1): ByteBuffer {
    val bytes = if (input == "uint8") 1 else 4
    val area = picture.width * picture.height
    val made = ByteBuffer.allocateDirect(3 * area * bytes * batch).order(ByteOrder.nativeOrder())
    for (copy in 0 until batch) for (channel in 0..2) {
        val table = FloatArray(256) { (it * how.scale.toFloat() - how.mean[channel].toFloat()) / how.std[channel].toFloat() }
        val shift = 16 - 8 * channel
        var to = 3 * area * copy + if (layout == "NCHW") channel * area else channel
        for (y in 0 until picture.height) for (x in 0 until picture.width) {
            val value = picture[x, y] shr shift and 255
            if (bytes == 1) made.put(to, value.toByte()) else made.putFloat(4 * to, table[value])
            to += if (layout == "NCHW") 1 else 3
        }
    }
    return made
}

/** From scores to probabilities that sum to 1. */
fun softmax(scores: List<Float>): List<Float> {
    val powers = scores.map { exp(it.toDouble() - scores.max()) }
    val sum = powers.sum()
    return powers.map { (it / sum).toFloat() }
}
