package android.graphics

import android.content.ContentResolver
import android.net.Uri
import java.io.InputStream

class Bitmap(val width: Int, val height: Int, val config: Config?) {
    enum class Config { ARGB_8888, HARDWARE }
    fun hasAlpha() = true
    fun copy(config: Config, mutable: Boolean): Bitmap? = if (mutable) null else Bitmap(width, height, config)
    fun getPixels(pixels: IntArray, offset: Int, stride: Int, x: Int, y: Int, width: Int, height: Int): Unit =
        TODO("${pixels.size} $offset $stride $x $y $width $height")
}

object BitmapFactory { fun decodeStream(stream: InputStream?): Bitmap? = TODO(stream.toString()) }

class ColorSpace {
    enum class Named { SRGB }
    companion object { fun get(name: Named): ColorSpace = TODO(name.name) }
}

class ImageDecoder {
    class Source
    class ImageInfo
    fun interface OnHeaderDecodedListener { fun onHeaderDecoded(decoder: ImageDecoder, info: ImageInfo, source: Source) }
    var allocator = 0
    var isUnpremultipliedRequired = false
    fun setTargetColorSpace(space: ColorSpace?): Unit = TODO(space.toString())
    companion object {
        const val ALLOCATOR_SOFTWARE = 1
        fun createSource(resolver: ContentResolver, uri: Uri): Source = TODO("$resolver $uri")
        fun decodeBitmap(source: Source, listener: OnHeaderDecodedListener): Bitmap = TODO("$source $listener")
    }
}
