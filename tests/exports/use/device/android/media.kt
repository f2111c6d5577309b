package android.media

import java.io.InputStream

class ExifInterface(private val stream: InputStream) {
    fun getAttributeInt(tag: String, otherwise: Int): Int = TODO("$stream $tag $otherwise")
    companion object { const val TAG_ORIENTATION = "Orientation" }
}
