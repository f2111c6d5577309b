// From Android's pictures to upright ones, RGB in sRGB, on white. This file needs a device: it has only been compiled.
package mobilenets

import android.content.ContentResolver
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.graphics.ColorSpace
import android.graphics.ImageDecoder
import android.media.ExifInterface
import android.net.Uri
import android.os.Build

/** A bitmap as it is; for frames of CameraX `picture(frame.toBitmap()).turned(frame.imageInfo.rotationDegrees)`. */
fun picture(bitmap: Bitmap): Picture {
    val plain = if (bitmap.config == Bitmap.Config.ARGB_8888) bitmap else bitmap.copy(Bitmap.Config.ARGB_8888, false)!!
    val pixels = IntArray(plain.width * plain.height)
    plain.getPixels(pixels, 0, plain.width, 0, 0, plain.width, plain.height)
    if (plain.hasAlpha()) layOnWhite(pixels)
    return Picture(pixels, plain.width, plain.height)
}

/** Decode a picture whole (no inSampleSize), upright by EXIF. */
fun picture(resolver: ContentResolver, uri: Uri): Picture {
    if (Build.VERSION.SDK_INT < 28) {
        val bitmap = resolver.openInputStream(uri)!!.use { BitmapFactory.decodeStream(it)!! }
        val exif = resolver.openInputStream(uri)!!.use { ExifInterface(it) }
        return picture(bitmap).upright(exif.getAttributeInt(ExifInterface.TAG_ORIENTATION, 1))
    }
    return picture(ImageDecoder.decodeBitmap(ImageDecoder.createSource(resolver, uri)) { decoder, _, _ -> // it applies EXIF itself
        decoder.allocator = ImageDecoder.ALLOCATOR_SOFTWARE
        decoder.isUnpremultipliedRequired = true
        decoder.setTargetColorSpace(ColorSpace.get(ColorSpace.Named.SRGB))
    })
}
