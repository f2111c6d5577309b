package ai.onnxruntime

import java.nio.ByteBuffer
import java.nio.FloatBuffer

interface OnnxValue : AutoCloseable

enum class OnnxJavaType { UINT8 }

class OnnxTensor : OnnxValue {
    val floatBuffer: FloatBuffer get() = TODO()
    override fun close() = Unit
    companion object {
        fun createTensor(environment: OrtEnvironment, data: FloatBuffer, shape: LongArray): OnnxTensor =
            TODO("$environment $data $shape")
        fun createTensor(environment: OrtEnvironment, data: ByteBuffer, shape: LongArray, type: OnnxJavaType): OnnxTensor =
            TODO("$environment $data $shape $type")
    }
}

class OrtEnvironment {
    fun setTelemetry(send: Boolean): Unit = TODO("$send")
    fun createSession(model: ByteArray): OrtSession = TODO(model.toString())
    companion object { fun getEnvironment(): OrtEnvironment = TODO() }
}

class OrtSession {
    class Result : AutoCloseable {
        fun get(index: Int): OnnxValue = TODO(index.toString())
        fun get(name: String): java.util.Optional<OnnxValue> = TODO(name)
        override fun close() = Unit
    }
    val inputNames: Set<String> get() = TODO()
    fun run(inputs: Map<String, OnnxTensor>): Result = TODO(inputs.toString())
}
